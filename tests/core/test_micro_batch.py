"""What happens when a device runs out of memory."""

import gc
import warnings
import weakref

import pytest
import torch

from understudy.core.errors import InputError
from understudy.core.micro_batch import MicroBatch

OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB."


def needing(limit, *, message=OUT_OF_MEMORY):
    """A computation that fits with at most ``limit`` images at once."""
    sizes = []

    def compute(size):
        sizes.append(size)
        if size > limit:
            raise torch.OutOfMemoryError(message)
        return sizes

    return compute


@pytest.mark.parametrize(
    "message",
    [
        OUT_OF_MEMORY,
        "MPS backend out of memory (MPS allocated: 9.05 GB)",
        "DefaultCPUAllocator: can't allocate memory",
        "CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_half_as_many_each_time(message):
    micro_batch = MicroBatch(13, work="the test")
    with pytest.warns(UserWarning, match="the test ran out of memory") as warned:
        assert micro_batch.fit(needing(3, message=message)) == [13, 7, 4, 2]
    assert micro_batch.size == 2
    assert [str(each.message) for each in warned] == [
        f"the test ran out of memory with {before} images at once and goes on with {after}; results change "
        "by rounding only"
        for before, after in ((13, 7), (7, 4), (4, 2))
    ]
    assert micro_batch.fit(needing(3)) == [2]


def test_a_single_image_that_does_not_fit():
    with pytest.raises(
        InputError, match="the test needs more memory than the device has, even with one image"
    ):
        MicroBatch(1, work="the test").fit(needing(0))


@pytest.mark.parametrize(("size", "sizes"), [(7, [7, 4, 3]), (5, [5, 3]), (3, [3])])
def test_work_that_needs_several_images_at_once(size, sizes):
    tried = []

    def compute(number):
        tried.append(number)
        raise torch.OutOfMemoryError(OUT_OF_MEMORY)

    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(InputError, match="even with 3 images at once: use smaller images, a smaller network"),
    ):
        MicroBatch(size, work="the test", smallest=3).fit(compute)
    assert tried == sizes


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        MicroBatch(8, work="the test").fit(needing(0, message="shapes do not fit"))


def test_the_tensors_of_a_failed_attempt_are_released():
    seen = []

    def compute(size):
        gc.disable()
        if seen:
            assert seen[0]() is None
        tensor = torch.ones(3)
        seen.append(weakref.ref(tensor))
        if size > 1:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)

    try:
        with pytest.warns(UserWarning, match="goes on with 1"):
            MicroBatch(2, work="the test").fit(compute)
    finally:
        gc.enable()
    assert len(seen) == 2
