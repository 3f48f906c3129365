"""Data sets and networks to try the flows on.

A task is data, a loss and what a network must know of them; a model is a network that fits a
task. Both are named, so that the command line can speak of them; anything else goes straight to
:class:`flows.Objective`, which takes any ``torch.nn.Module``, loss, inputs and targets.

Examples
--------
>>> from flows import tasks
>>> task = tasks.load("digits", examples=50)
>>> task.inputs.shape, task.targets.shape
(torch.Size([50, 1, 8, 8]), torch.Size([50, 10]))
>>> model = tasks.build_model("mlp", task, width=16)
>>> task.loss(model(task.inputs), task.targets).shape
torch.Size([])
"""

from flows.tasks._registry import MODELS, TASKS, build_model, load
from flows.tasks._task import Task

__all__ = ["MODELS", "TASKS", "Task", "build_model", "load"]
