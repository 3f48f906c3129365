"""Recurrent networks."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from flows._arguments import check_integer
from flows.tasks._task import Task
from flows.tasks.models._building import initialised, require_kind


class Recurrent(nn.Module):
    """Embedding, stacked recurrent layers, and a linear readout at every position.

    Parameters
    ----------
    alphabet : int
        Number of tokens.
    recurrence : nn.RNNBase
        Batch first; its inputs are as wide as its state.
    outputs : int
        Number of outputs at every position.
    """

    def __init__(self, alphabet: int, recurrence: nn.RNNBase, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(alphabet, recurrence.input_size)
        self.recurrence = recurrence
        self.readout = nn.Linear(recurrence.hidden_size, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the outputs at every position, shape (N, T, outputs), for tokens (N, T)."""
        return self.readout(self.recurrence(self.embedding(tokens))[0])


def rnn(task: Task, *, width: int = 48, depth: int = 1, seed: int = 0) -> nn.Module:
    """Return a plain recurrent network, with tanh, that predicts the next token.

    ``h_t = tanh(A x_t + B h_{t−1} + b)`` in every layer.

    Parameters
    ----------
    task : Task
        A task whose inputs are tokens.
    width : int
        Units in the embedding and in each layer.
    depth : int
        Layers.
    seed : int
        Of the initial weights.

    Returns
    -------
    torch.nn.Module
        In the dtype and on the device of the task.

    Raises
    ------
    InvalidArgumentError
        If an option is out of range, or the task's inputs are no tokens.

    Examples
    --------
    >>> from flows import tasks
    >>> from flows.tasks.models import rnn
    >>> task = tasks.load("sorting", examples=10)
    >>> rnn(task, width=8)(task.inputs).shape
    torch.Size([10, 15, 4])
    """
    return _recurrent("rnn", nn.RNN, task, width, depth, seed)


def lstm(task: Task, *, width: int = 48, depth: int = 2, seed: int = 0) -> nn.Module:
    """Return a network with long short-term memory that predicts the next token.

    Parameters
    ----------
    task : Task
        A task whose inputs are tokens.
    width : int
        Units in the embedding and in each layer; 48 in the paper's code.
    depth : int
        Layers; 2 in the paper's code.
    seed : int
        Of the initial weights.

    Returns
    -------
    torch.nn.Module
        In the dtype and on the device of the task.

    Raises
    ------
    InvalidArgumentError
        If an option is out of range, or the task's inputs are no tokens.

    References
    ----------
    Hochreiter, Schmidhuber, doi:10.1162/neco.1997.9.8.1735.

    Examples
    --------
    >>> from flows import tasks
    >>> from flows.tasks.models import lstm
    >>> task = tasks.load("sorting", examples=10)
    >>> lstm(task, width=8, depth=1)(task.inputs).shape
    torch.Size([10, 15, 4])
    """
    return _recurrent("lstm", nn.LSTM, task, width, depth, seed)


def _recurrent(
    model: str,
    layers: Callable[..., nn.RNNBase],
    task: Task,
    width: int,
    depth: int,
    seed: int,
) -> nn.Module:
    require_kind(model, task, real=False)
    check_integer("width", width, 1)
    check_integer("depth", depth, 1)
    alphabet = task.alphabet or task.outputs

    def build() -> nn.Module:
        recurrence = layers(width, width, num_layers=depth, batch_first=True)
        return Recurrent(alphabet, recurrence, task.outputs)

    return initialised(build, task, seed)
