"""The commands of the command line, their options, and what they do.

Nothing here imports torch until a command is executed, so that ``--help`` is quick. Names are
taken as plain strings and checked where they are used, so that a wrong one gives a short message.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from flows._errors import FlowsError, InvalidArgumentError
from flows.tasks import MODELS, TASKS, build_model, demo, load

if TYPE_CHECKING:
    import torch

    from flows.methods import Method
    from flows.result import Run
    from flows.tasks import Task

#: Name of a method on the command line, and its class in :mod:`flows`.
METHODS = {"gd": "GD", "rmsprop-norm": "RMSPropNorm", "rmsprop": "RMSProp"}
_PROCESSES = ("discrete", "central", "stable")
_MORE_PROCESSES = ("midpoint", "stationary", "ablated")
_DTYPES = ("float32", "float64")
_DERIVATIVES = ("autodiff", "differences")
_BETA2 = 0.99
_FIGURE = "figure.png"
_FIGURE_KINDS = (".png", ".pdf", ".svg")


def _one_of(*names: str, default: str | None = None) -> Any:
    """Show the choices, and the default where None stands for it, in the help."""
    return _shown("{" + ",".join(names) + "}", default)


def _shown(metavar: str, default: str | None) -> Any:
    """Show the kind of value, and the default where None stands for it, in the help."""
    return arg(metavar=metavar, help_behavior_hint=default and f"(default: {default})")


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Data and loss; options that a task does not have are refused."""

    task: Annotated[str, _one_of(*TASKS)] = "digits"
    """Data set: digits (embedded images), sorting (generated sequences), cifar10 (downloaded)."""
    loss: Annotated[str | None, _one_of("mse", "cross-entropy", default="mse")] = None
    """Train loss."""
    examples: Annotated[int | None, _shown("INT", "500 digits, 1000 of the others")] = None
    """Number of training examples."""
    classes: Annotated[int | None, _shown("INT", "10")] = None
    """Number of classes, in digits and cifar10."""
    label_noise: Annotated[float | None, _shown("FLOAT", "0")] = None
    """Fraction of the labels of digits or cifar10 replaced at random; sharpens the loss."""
    length: Annotated[int | None, _shown("INT", "8")] = None
    """Length of the sequences to sort."""
    alphabet: Annotated[int | None, _shown("INT", "4")] = None
    """Number of letters in the sequences to sort."""
    path: Annotated[Path | None, _shown("FILE", "download")] = None
    """Local copy of cifar10: cifar-10-binary.tar.gz, or an .npz file."""


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """The network; options that a model does not have are refused."""

    model: Annotated[str, _one_of(*MODELS)] = "mlp"
    """Kind of network: mlp, cnn, resnet or vit for images; gpt, rnn or lstm for sorting."""
    width: Annotated[int | None, _shown("INT", "depends on the model")] = None
    """Neurons or units in a layer, channels of the first convolution, features of a token."""
    depth: Annotated[int | None, _shown("INT", "depends on the model")] = None
    """Number of layers, of blocks, or (resnet) of blocks in each stage."""
    heads: Annotated[int | None, _shown("INT", "4")] = None
    """Heads of the attention in vit and gpt."""
    head_width: Annotated[int | None, _shown("INT", "width / heads")] = None
    """Features in each head."""
    patch: Annotated[int | None, _shown("INT", "4")] = None
    """Side, in pixels, of the squares that vit cuts images into."""
    activation: Annotated[
        str | None, _one_of("gelu", "tanh", "silu", "softplus", "beta-gelu", default="gelu")
    ] = None
    """Nonlinearity; all are smooth, because a flow follows third derivatives."""
    activation_beta: Annotated[float | None, _shown("FLOAT", "none")] = None
    """The b of beta-gelu, x Phi(b x): gelu for b = 1, with a sharper bend for more."""
    readout_scale: Annotated[float | None, _shown("FLOAT", "0")] = None
    """Factor of the initial weights of the last layer in resnet, vit and gpt."""


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """The optimizer; options that a method does not have are refused."""

    method: Annotated[str, _one_of(*METHODS)] = "gd"
    """Full-batch gradient descent, or RMSProp with one scale for all weights or for each."""
    lr: float
    """Learning rate."""
    beta2: Annotated[float | None, _shown("FLOAT", "0.99")] = None
    """Decay of the average of squared gradients in RMSProp."""
    eps: Annotated[float | None, _shown("FLOAT", "0")] = None
    """Added to the root of that average."""
    bias_correction: bool = False
    """Whether that average is corrected for its start at zero."""


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """Where and how to compute."""

    dtype: Annotated[str, _one_of(*_DTYPES)] = "float64"
    """Precision of the network; the small complementarity problems are always in float64."""
    device: Annotated[str, _shown("DEVICE", None)] = "cpu"
    """Device of the network, such as cpu, cuda or cuda:1."""
    chunk: Annotated[int | None, _shown("INT", "all at once")] = None
    """Examples per pass through the network; fewer need less memory."""
    memory: Annotated[str | None, _shown("BYTES", "no limit")] = None
    """What an evaluation may add to the memory in use, such as 512MiB; sizes of chunks follow."""
    derivatives: Annotated[str, _one_of(*_DERIVATIVES)] = "autodiff"
    """Second and third derivatives: exact, or differences of gradients (with float64 alone)."""
    deterministic: bool = False
    """Use deterministic algorithms alone: bitwise the same results on the same machine."""


@dataclass(frozen=True, kw_only=True)
class RunCommand:
    """Train a network on a task, and follow the optimizer by its flows from the same weights."""

    out: Annotated[Path, _shown("FOLDER", None)]
    """Folder for the results: run.nc (netCDF) and figure.png."""
    optimizer: Annotated[OptimizerOptions, OmitArgPrefixes]
    steps: int = 200
    """Optimizer steps, which are the units of time of the flows."""
    processes: Annotated[tuple[str, ...], _one_of(*_PROCESSES, *_MORE_PROCESSES)] = _PROCESSES
    """What to run: the optimizer itself, the midpoints of its path, its central, stable, stationary
    (rmsprop) or ablated (rmsprop, rmsprop-norm) flow."""
    warm_start: int = 0
    """Optimizer steps before all processes start."""
    integrator: Annotated[str, _one_of("adaptive", "euler")] = "adaptive"
    """How the central flow is integrated: in steps as long as rtol allows, or by Euler steps."""
    rtol: Annotated[float | None, _shown("FLOAT", "0.005")] = None
    """Error of the central flow's weights that is allowed per length of their path."""
    inner: Annotated[str, _one_of("flow", "discrete")] = "flow"
    """What the central flow is until oscillation has set in: its equation, or the optimizer."""
    substeps: int = 4
    """Steps per unit of time with --integrator euler, the published scheme."""
    spectrum_every: int = 5
    """Steps between measurements of the sharpness of processes that do not need it to advance."""
    seed: int = 0
    """Seed of the initial weights, of label noise and of generated data."""
    overwrite: bool = False
    """Replace a run that the folder already holds."""
    progress: bool = True
    """Show a progress bar with loss, sharpness and remaining time."""
    data: Annotated[DataOptions, OmitArgPrefixes] = field(default_factory=DataOptions)
    network: Annotated[NetworkOptions, OmitArgPrefixes] = field(default_factory=NetworkOptions)
    machine: Annotated[MachineOptions, OmitArgPrefixes] = field(default_factory=MachineOptions)

    def execute(self) -> None:
        """Run, draw the figure and print the summary."""
        import torch

        from flows.summary import summarize

        method = make_method(self.optimizer)
        task = load(
            self.data.task,
            seed=self.seed,
            dtype=parse_dtype(self.machine.dtype),
            device=parse_device(self.machine.device),
            **_given(self.data, but="task"),
        )
        try:
            result = self._run(method, task)
        except torch.OutOfMemoryError:
            raise FlowsError(
                f"out of memory on {self.machine.device}: take fewer examples at once (--chunk), "
                "a smaller network (--width), or --dtype float32"
            ) from None
        figure = self.out / _FIGURE
        result.plot(figure)
        print(summarize(result.dataset))
        print(f"\nresults: {self.out / 'run.nc'}\nfigure:  {figure}")

    def _run(self, method: Method, task: Task) -> Run:
        import flows

        network = _given(self.network, but="model")
        model = build_model(self.network.model, task, seed=self.seed, **network)
        size = sum(parameter.numel() for parameter in model.parameters())
        provenance = {
            "problem": f"{task.description}; {self.network.model} with {size:,} weights",
            "task": task.name,
            "model": self.network.model,
            "seed": self.seed,
            **{f"task_{name}": str(value) for name, value in _given(self.data, "task").items()},
            **{f"model_{name}": value for name, value in network.items()},
        }
        return flows.run(
            flows.Objective(
                model,
                task.loss,
                task.inputs,
                task.targets,
                chunk=self.machine.chunk,
                memory=self.machine.memory,
                deterministic=self.machine.deterministic,
                derivatives=self.machine.derivatives,
            ),
            method,
            steps=self.steps,
            processes=self.processes,
            out=self.out,
            overwrite=self.overwrite,
            warm_start=self.warm_start,
            integrator=self.integrator,
            rtol=self.rtol,
            inner=self.inner,
            substeps=self.substeps,
            spectrum_every=self.spectrum_every,
            progress=self.progress,
            provenance=provenance,
        )


def _demo_machine() -> MachineOptions:
    return MachineOptions(dtype=demo.DTYPE)


@dataclass(frozen=True, kw_only=True)
class DemoCommand:
    """Show gradient descent, its central flow and gradient flow at the edge of stability."""

    out: Annotated[Path, _shown("FOLDER", None)] = Path("runs/demo")
    """Folder for the results: run.nc (netCDF) and figure.png."""
    steps: int = demo.STEPS
    """Optimizer steps, which are the units of time of the flows."""
    overwrite: bool = False
    """Replace a run that the folder already holds."""
    progress: bool = True
    """Show a progress bar with loss, sharpness and remaining time."""
    machine: Annotated[MachineOptions, OmitArgPrefixes] = field(default_factory=_demo_machine)

    def execute(self) -> None:
        """Run the demonstration problem of :mod:`flows.tasks.demo`."""
        data: dict[str, Any] = demo.DATA
        network: dict[str, Any] = demo.NETWORK
        RunCommand(
            optimizer=OptimizerOptions(lr=demo.LR),
            data=DataOptions(**data),
            network=NetworkOptions(**network),
            **{each.name: getattr(self, each.name) for each in dataclasses.fields(self)},
        ).execute()


@dataclass(frozen=True, kw_only=True)
class PlotCommand:
    """Draw the summary figure of a run again."""

    folder: Annotated[Positional[Path], _shown("RUN_DIR", None)]
    """Folder of a run, which holds run.nc."""
    out: Annotated[Path | None, _shown("FILE", "figure.png in the folder of the run")] = None
    """Where the figure goes; .png, .pdf or .svg."""
    sigma: Annotated[float | None, _shown("FLOAT", "50, less for short runs")] = None
    """Width of the average over time, in steps."""

    def execute(self) -> None:
        """Draw the figure."""
        import flows
        from flows.plots import summary_figure
        from flows.storage import write_atomically

        target = self.folder / _FIGURE if self.out is None else self.out
        kind = target.suffix
        if kind not in _FIGURE_KINDS:
            raise InvalidArgumentError(
                f"out must end in one of {', '.join(_FIGURE_KINDS)}, found {target}"
            )
        figure = summary_figure(flows.load(self.folder).dataset, sigma=self.sigma)
        write_atomically(target, lambda path: figure.savefig(path, format=kind[1:]))
        print(f"figure: {target}")


def make_method(options: OptimizerOptions) -> Method:
    """Return the optimizer that the options ask for."""
    import flows

    name = options.method
    if name not in METHODS:
        raise InvalidArgumentError(f"method must be one of {', '.join(METHODS)}, found {name!r}")
    given = _given(options, but="method")
    given = {option: value for option, value in given.items() if value is not False}
    if name == "gd":
        for option in given.keys() - {"lr"}:
            raise InvalidArgumentError(f"method 'gd' has no option {option}; allowed is lr")
    else:
        given = {"beta2": _BETA2} | given
    return getattr(flows, METHODS[name])(**given)


def parse_dtype(name: str) -> torch.dtype:
    """Return the torch dtype of that name."""
    import torch

    if name not in _DTYPES:
        raise InvalidArgumentError(f"dtype must be one of {', '.join(_DTYPES)}, found {name!r}")
    return {"float32": torch.float32, "float64": torch.float64}[name]


def parse_device(name: str) -> torch.device:
    """Return the torch device of that name, if torch can use it here."""
    import torch

    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidArgumentError(
            f"device must be one that torch can use here, such as cpu, found {name!r} ({reason})"
        ) from None
    return device


def _given(options: DataOptions | NetworkOptions | OptimizerOptions, but: str) -> dict[str, Any]:
    """Return the options that were given, for the task or model to take or refuse."""
    values = {each.name: getattr(options, each.name) for each in dataclasses.fields(options)}
    return {name: value for name, value in values.items() if value is not None and name != but}
