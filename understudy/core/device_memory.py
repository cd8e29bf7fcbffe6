"""Free and used memory of a device."""

from __future__ import annotations


def free_bytes(device: str) -> int | None:
    """Bytes that this process can still allocate on a device; None where the host shares its memory with it.

    Args:
        device: torch device.
    """
    import torch  # slow to import; commands that only list names do not need it

    if not _counts(device):
        return None
    free, _ = torch.accelerator.get_memory_info(device)
    # torch keeps memory that tensors have left, and uses it first.
    kept = torch.accelerator.memory_reserved(device) - torch.accelerator.memory_allocated(device)
    return int(free + kept)


def release() -> None:
    """Give back the memory of networks that nothing refers to any longer, also to the device."""
    from accelerate.utils.memory import clear_device_cache  # slow to import, and seldom needed

    clear_device_cache(garbage_collection=True)  # networks, and the parts of a pipeline, refer to each other


def forget_peak(device: str) -> None:
    """Make :func:`peak_gb` start again from the memory that is in use now."""
    import torch  # as above

    if _counts(device):
        torch.accelerator.reset_peak_memory_stats(device)


def peak_gb(device: str) -> float | None:
    """Most memory of a device that tensors of this process used since :func:`forget_peak`, in GB.

    None where the host shares its memory with the device.
    """
    import torch  # as above

    return round(torch.accelerator.max_memory_allocated(device) / 1e9, 2) if _counts(device) else None


def _counts(device: str) -> bool:
    """Whether torch counts the memory of a device."""
    import torch  # as above

    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None:
        return False
    return torch.device(device).type == accelerator.type != "mps"
