"""A decoder over several devices: a device map, checked before any weight is read.

accelerate moves inputs and masks to the device of each layer, and keeps what fits on no device on the CPU or on disk.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import torch
from torch import nn

from asr_data.errors import ConfigError, MissingDependencyError

DeviceMap: TypeAlias = Literal["auto"] | Mapping[str, int | str]
"""Names of modules → a GPU by number, ``cuda:1``, ``cpu`` or ``disk``; ``auto`` fills the devices in order."""
_DISK: Final = "disk"
_FREE_SHARE: Final = 0.9
"""Of a device's free memory, what ``auto`` gives to weights; the rest is for batches."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How a decoder is spread.

    Attributes:
        devices: the device map.
        folder: where weights that go to disk are written, in a directory of their own that is removed with the model;
            None: the system's place for temporary files.
    """

    devices: DeviceMap
    folder: Path | None = None


def load_arguments(spread: Spread, empty: Any, dtype: torch.dtype, *, quantised: bool) -> dict[str, Any]:
    """``device_map`` and ``offload_folder`` for ``from_pretrained``.

    Args:
        spread: what was asked for.
        empty: the decoder, on the meta device.
        dtype: the number format that it will have.
        quantised: then ``auto`` is left to transformers, which knows the quantiser's sizes.

    Raises:
        ConfigError: the map does not fit the decoder or this machine, or there is no room for what goes to disk.
        MissingDependencyError: accelerate is not installed.
    """
    if importlib.util.find_spec("accelerate") is None:
        raise MissingDependencyError("accelerate", "--device-map", "pip install 'asr-data[large]'")
    if spread.devices == "auto":
        if quantised:
            return {"device_map": "auto"}
        devices = _automatic(empty, dtype)
    else:
        devices = checked_map(spread.devices, empty)
    arguments: dict[str, Any] = {"device_map": devices}
    on_disk = sum(size for name, size in _sizes(empty, dtype).items() if _place(devices, name) == _DISK)
    if on_disk:
        arguments["offload_folder"] = str(_offload_folder(spread.folder, on_disk))
    return arguments


def checked_map(devices: Mapping[str, int | str], empty: nn.Module) -> dict[str, int | str]:
    """A device map with names as the decoder has them, and devices as this machine has them.

    Raises:
        ConfigError: a name that is no module of the decoder, a weight that no name covers, or a device that is not
            there.
    """
    prefix = f"{getattr(empty, 'base_model_prefix', '')}."
    known = {name for name, _ in empty.named_modules()} | {name for name, _ in empty.named_parameters()}
    found: dict[str, int | str] = {}
    for name, device in devices.items():
        own = name if name in known else name.removeprefix(prefix)
        if own not in known:
            modules = [f"{child}" for child, _ in empty.named_children()]
            raise ConfigError(
                f"--device-map names {name!r}, which is no layer of this model; its parts are {', '.join(modules)}, "
                f"and their layers, such as {_a_layer(empty)}"
            )
        found[own] = _device(name, device)
    missing = [name for name, _ in empty.named_parameters() if _place(found, name) is None]
    if missing:
        raise ConfigError(
            f"--device-map has no device for {', '.join(missing[:3])}"
            + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
            + '; "" stands for all that is not named'
        )
    if all(device == _DISK for device in found.values()):
        raise ConfigError("--device-map puts every layer on disk; one of them must be on a device")
    _require_whole_layers(found, empty)
    return _apart(found, empty)


def _require_whole_layers(devices: Mapping[str, int | str], empty: Any) -> None:
    """A layer adds its input to what its parts give: all must run on one device."""
    main = min((device for device in devices.values() if isinstance(device, int)), default="cpu")
    for layer, module in empty.named_modules():
        if type(module).__name__ not in (getattr(empty, "_no_split_modules", None) or ()):
            continue
        runs_on = {_place(devices, f"{layer}.{name}") for name, _ in module.named_parameters()}
        runs_on = {device if isinstance(device, int) else main for device in runs_on}
        if len(runs_on) > 1:
            raise ConfigError(f"--device-map splits {layer} over {sorted(map(str, runs_on))}: a layer is on one device")


def _apart(devices: Mapping[str, int | str], empty: nn.Module) -> dict[str, int | str]:
    """The same map without a name inside another: the largest parts that are on one device."""
    found: dict[str, int | str] = {}

    def collect(name: str, module: nn.Module) -> None:
        tensors = [*module.named_parameters(prefix=name), *module.named_buffers(prefix=name)]
        on = {_place(devices, tensor) for tensor, _ in tensors} - {None}
        if len(on) == 1:
            found[name] = on.pop() or 0
            return
        own = [tensor for tensor, _ in module.named_parameters(prefix=name, recurse=False)]
        found.update({tensor: _place(devices, tensor) or 0 for tensor in own})
        for child, part in module.named_children():
            collect(f"{name}.{child}" if name else child, part)

    collect("", empty)
    return found


def execution_device(model: nn.Module) -> torch.device:
    """Where a decoder takes its inputs: where its weights are, or where accelerate brings them."""
    decoder = getattr(model, "backbone", model)  # inside of what reads inner layers, too
    device = getattr(getattr(decoder, "_hf_hook", None), "execution_device", None)
    return next(decoder.parameters()).device if device is None else torch.device(device)


def is_offloaded(model: nn.Module) -> bool:
    """Whether some weights are brought to a device only when they are used."""
    return any(parameter.device.type == "meta" for parameter in model.parameters())


def weight_of(module: Any) -> torch.Tensor:
    """A module's weight, wherever it is kept."""
    weight: torch.Tensor = module.weight.detach()
    if weight.device.type != "meta":
        return weight
    hooks = getattr(module._hf_hook, "hooks", [module._hf_hook])
    kept: torch.Tensor = next(hook.weights_map for hook in hooks if getattr(hook, "weights_map", None))["weight"]
    return kept


def placed(model: nn.Module) -> dict[str, dict[str, str]]:
    """For the manifest: ``device_map`` as it turned out; empty where all is on one device."""
    found = getattr(model, "hf_device_map", None) or {}
    if len({str(device) for device in found.values()}) < 2:
        return {}
    names = {name: f"cuda:{device}" if isinstance(device, int) else str(device) for name, device in found.items()}
    return {"device_map": names}


def _device(name: str, device: object) -> int | str:
    """A device as accelerate wants it: GPUs by number, so that the first of them is the main one."""
    if device in ("cpu", _DISK):
        return str(device)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = _gpu_number(device)
    if number is None or not 0 <= number < gpus:
        there = f"0 to {gpus - 1}, cpu and disk" if gpus else "cpu and disk: there is no GPU"
        raise ConfigError(f"--device-map puts {name!r} on {device!r}; here are {there}")
    return number


def _gpu_number(device: object) -> int | None:
    if isinstance(device, int) and not isinstance(device, bool):
        return device
    text = str(device).removeprefix("cuda").removeprefix(":")
    return int(text or 0) if str(device).startswith("cuda") and (text.isdigit() or not text) else None


def _a_layer(model: nn.Module) -> str:
    return next((name for name, _ in model.named_modules() if name.endswith(".0")), "")


def _place(devices: Mapping[str, int | str], parameter: str) -> int | str | None:
    """The device of the longest name that covers a parameter."""
    name = parameter
    while name and name not in devices:
        name = name.rpartition(".")[0]
    return devices.get(name)  # "": all that is not named


def _sizes(empty: nn.Module, dtype: torch.dtype) -> dict[str, int]:
    return {name: parameter.numel() * dtype.itemsize for name, parameter in empty.named_parameters()}


def _automatic(empty: Any, dtype: torch.dtype) -> dict[str, int | str]:
    """GPUs first, then the CPU, then the disk, by what is free; layers stay whole."""
    from accelerate import infer_auto_device_map
    from accelerate.utils import get_balanced_memory

    whole = empty._no_split_modules
    memory = get_balanced_memory(empty, free_memory(), no_split_module_classes=whole, dtype=dtype)
    found: dict[str, int | str] = infer_auto_device_map(empty, memory, no_split_module_classes=whole, dtype=dtype)
    return found


def free_memory() -> dict[int | str, int]:
    """Bytes for weights on each device."""
    from accelerate.utils import get_max_memory

    return {device: int(_FREE_SHARE * size) for device, size in get_max_memory().items()}


def _offload_folder(parent: Path | None, size: int) -> Path:
    """A directory with room for weights; it is removed when the process ends.

    Raises:
        ConfigError: it cannot be made, or has too little room, which is said before hours are spent on writing.
    """
    try:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="asr-data-offload-", dir=parent))
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise ConfigError(f"--offload-dir {parent or tempfile.gettempdir()} cannot be written: {error}") from error
    _removed_at_exit(folder)
    if free < 1.01 * size:
        shutil.rmtree(folder, ignore_errors=True)
        raise ConfigError(
            f"--offload-dir {parent or tempfile.gettempdir()} is full: {size / 1e9:.1f} GB of weights go to disk, and "
            f"{free / 1e9:.1f} GB are free there"
        )
    return folder


class _Folder:
    """Stands for a directory; weakref wants an object."""


_FOLDERS: list[_Folder] = []


def _removed_at_exit(folder: Path) -> None:
    one = _Folder()
    _FOLDERS.append(one)
    weakref.finalize(one, shutil.rmtree, folder, ignore_errors=True)
