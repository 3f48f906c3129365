"""The full data set behind a torch data loader."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader, IterableDataset, SequentialSampler

from flows._errors import InvalidArgumentError
from flows._examples import Data, join

_PARTS = 2  # inputs and targets


def full_data(loader: DataLoader[Any]) -> tuple[Data, Data, int]:
    """Return all inputs, all targets, and the number of examples in a batch.

    Raises
    ------
    InvalidArgumentError
        If the batches are not the whole data set once, in its order.
    """
    if not isinstance(loader, DataLoader):
        raise InvalidArgumentError(
            f"loader must be a torch.utils.data.DataLoader, found {type(loader).__name__}"
        )
    if isinstance(loader.dataset, IterableDataset):
        raise InvalidArgumentError("loader must have a data set with a length, found a stream")
    if loader.batch_size is None:
        raise InvalidArgumentError("loader must make batches of batch_size examples, found none")
    if not isinstance(loader.sampler, SequentialSampler):
        raise InvalidArgumentError(
            "loader must go through the data in order (shuffle=False): a flow follows the loss of "
            f"the full data set, found {type(loader.sampler).__name__}"
        )
    total = len(loader.dataset)  # type: ignore[arg-type]
    left_out = total % loader.batch_size if loader.drop_last else 0
    if left_out:
        raise InvalidArgumentError(
            f"loader must not drop examples (drop_last=False), found {left_out} of {total} dropped"
        )
    batches = list(loader)
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) != _PARTS:
            raise InvalidArgumentError(
                f"loader must give pairs of inputs and targets, found {type(batch).__name__}"
                + (f" of {len(batch)}" if isinstance(batch, tuple | list) else "")
            )
    inputs, targets = zip(*batches, strict=True)
    return join(list(inputs)), join(list(targets)), loader.batch_size
