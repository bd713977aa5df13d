"""What would make the host wait for a device, played through on the CPU."""

from torch.utils._python_dispatch import TorchDispatchMode

READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique", "_unique2", "unique_dim", "is_nonzero")


class NoReads(TorchDispatchMode):
    """Within it, operations whose result the host has to see raise: on a GPU it would wait for all work before them."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.split("::")[-1]
        if name in READS:
            raise AssertionError(f"{name} waits for the device")
        return func(*args, **(kwargs or {}))
