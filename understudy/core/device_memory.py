"""Free memory of a device."""

from __future__ import annotations


def free_bytes(device: str) -> int | None:
    """Bytes that this process can still allocate on a device; None where the host shares its memory with it.

    Args:
        device: torch device.
    """
    import torch  # slow to import; commands that only list names do not need it

    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None or torch.device(device).type != accelerator.type or accelerator.type == "mps":
        return None
    free, _ = torch.accelerator.get_memory_info(device)
    # torch keeps memory that tensors have left, and uses it first.
    kept = torch.accelerator.memory_reserved(device) - torch.accelerator.memory_allocated(device)
    return int(free + kept)
