"""Figures: what there is, that runs are reused only where they may be, and what goes wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import flows
from flows import storage
from flows._errors import FlowsError, InvalidArgumentError
from flows.cli import main
from flows.figures import (
    FIGURES,
    Conditions,
    Experiment,
    Figure,
    explain,
    find,
    registry,
    reproduce,
)
from flows.figures.reproduce import run_experiment
from flows.figures.scales import PAPER_SIZES, problem
from flows.figures.settings import settings
from flows.figures.summaries import draw
from flows.methods import Method

TINY = Experiment("gd", "mlp", "mse", overrides={"steps": 3, "lr": 0.05})


@pytest.fixture
def tiny(monkeypatch):
    """Make a figure of three steps known by the name ``tiny``."""
    figure = Figure("tiny", "Tiny", "Three steps.", (TINY,), draw)
    monkeypatch.setitem(registry.FIGURES, "tiny", figure)
    return figure


@pytest.fixture
def runs(monkeypatch):
    """Count the runs that are made."""
    made = []
    run = flows.run
    monkeypatch.setattr(flows, "run", lambda *a, **k: made.append(k["out"]) or run(*a, **k))
    return made


class TestRegistry:
    def test_every_optimizer_network_and_loss_has_a_figure(self):
        for method in ("gd", "rmsprop-norm", "rmsprop"):
            for model in PAPER_SIZES:
                for loss in ("mse", "ce"):
                    assert f"{method}-{model}-{loss}" in FIGURES

    @pytest.mark.parametrize("name", FIGURES)
    def test_figures_are_whole(self, name):
        figure = FIGURES[name]
        assert figure.name == name
        assert figure.title
        assert figure.shows.endswith(".")
        assert figure.experiments
        assert callable(figure.draw)
        assert bool(figure.basis) == name.startswith("fig")

    def test_an_experiment_is_one_thing_in_all_figures(self):
        """Figures in one folder share runs by the names of experiments."""
        records: dict[str, str] = {}
        for figure in FIGURES.values():
            for experiment in figure.experiments:
                record = experiment.record("small", seed=0)
                assert records.setdefault(experiment.name, record) == record

    @pytest.mark.parametrize("scale", ["small", "paper"])
    def test_experiments_are_legal(self, scale):
        """Every optimizer can be made, every network built (on random images of CIFAR's size)."""
        for experiment in {e.name: e for f in FIGURES.values() for e in f.experiments}.values():
            assert isinstance(experiment.make_method(scale), Method)
            assert experiment.settings(scale).steps > 0
        for model in PAPER_SIZES:
            what = problem(model, "mse", scale)
            task = _without_data(what.task)
            sizes = {key: value for key, value in what.model.items() if key != "name"}
            assert flows.tasks.build_model(model, task, **sizes) is not None

    def test_unknown_names_say_what_comes_near(self):
        with pytest.raises(InvalidArgumentError, match="unknown figure 'gd-cn-mse'; near are gd-c"):
            find("gd-cn-mse")
        with pytest.raises(InvalidArgumentError, match=r"unknown figure 'fig39' \(flows repr"):
            find("fig39")

    def test_numbers_without_a_source_are_refused_as_such(self):
        unknown = [n for n in registry.NUMBERS if f"fig{n}" not in FIGURES]
        for number in unknown:
            with pytest.raises(InvalidArgumentError, match=f"the paper's figure {number} shows"):
                find(f"fig{number}")


class TestScales:
    def test_small_is_by_the_rule(self):
        assert problem("vit", "mse", "small").model == {
            "name": "vit",
            "width": 16,
            "depth": 2,
            "heads": 2,
            "head_width": 16,
        }
        assert problem("lstm", "mse", "small").task == {
            "task": "sorting",
            "examples": 100,
            "length": 4,
            "alphabet": 4,
            "loss": "mse",
        }
        assert problem("cnn", "mse", "small").task["task"] == "digits"

    def test_published_values(self):
        how = settings("rmsprop", "mlp", "mse", "paper")
        assert (how.lr, how.beta2, how.eps, how.bias_correction) == (2e-5, 0.99, 1e-7, True)
        assert (how.warm_start, how.steps) == (5, 500)
        assert how.published.keys() == {
            *("lr", "beta2", "eps", "bias_correction", "warm_start", "steps")
        }

    def test_explanation_marks_what_is_published_and_what_is_not(self):
        text = explain(find("gd-vit-mse"), "paper")
        assert "learning rate 0.02 (part I of the paper's web site)" in text
        assert "steps 4000 (chosen here)" in text
        assert "learning rate 0.02 (chosen here)" in explain(find("gd-rnn-mse"), "paper")
        assert "published" not in explain(find("gd-vit-mse"), "small").replace("published code", "")

    def test_unknown_scale(self):
        with pytest.raises(InvalidArgumentError, match="scale must be one of small, paper, found"):
            problem("cnn", "mse", "huge")


class TestReproduce:
    def test_runs_and_draws(self, tiny, tmp_path):
        drawing = reproduce("tiny", tmp_path)
        assert len(drawing.axes) == 4
        assert (tmp_path / "tiny.png").read_bytes().startswith(b"\x89PNG")
        attributes = flows.load(tmp_path / TINY.name).dataset.attrs
        assert json.loads(attributes["experiment"]) == json.loads(TINY.record("small", seed=0))
        assert (attributes["scale"], attributes["dtype"]) == ("small", "float32")
        assert attributes["problem"].startswith("digits: 100 examples, 4 classes, mse, 20% label")

    def test_a_finished_run_is_used_again(self, tiny, tmp_path, runs):
        reproduce("tiny", tmp_path)
        (tmp_path / "tiny.png").unlink()
        reproduce("tiny", tmp_path)
        assert len(runs) == 1
        assert (tmp_path / "tiny.png").is_file()
        reproduce("tiny", tmp_path, overwrite=True)
        assert len(runs) == 2

    def test_a_part_of_a_run_is_not(self, tiny, tmp_path, runs):
        reproduce("tiny", tmp_path)
        folder = tmp_path / TINY.name
        run = flows.load(folder)
        run.dataset.loss[:, -1] = np.nan  # as if the machine had failed in the last step
        storage.save(folder, run.dataset, {})
        reproduce("tiny", tmp_path)
        assert len(runs) == 2
        assert np.isfinite(flows.load(folder).dataset.loss).all()

    def test_an_interrupted_run_is_run_again(self, tiny, tmp_path, monkeypatch):
        def interrupt(*arguments: object, **options: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("flows.adaptive.AdaptiveCentral.advance", interrupt)
            with pytest.raises(KeyboardInterrupt):
                reproduce("tiny", tmp_path)
        assert (tmp_path / TINY.name / "run.nc").is_file()
        reproduce("tiny", tmp_path)
        assert np.isfinite(flows.load(tmp_path / TINY.name).dataset.loss).all()

    def test_a_process_that_stopped_early_is_finished(self, tiny, tmp_path, runs, monkeypatch):
        wild = Experiment("gd", "mlp", "mse", ("discrete",), overrides={"steps": 30, "lr": 1e3})
        monkeypatch.setitem(
            registry.FIGURES, "wild", Figure("wild", "Wild", "Divergence.", (wild,), draw)
        )
        for _ in range(2):
            reproduce("wild", tmp_path)
        assert len(runs) == 1

    def test_the_run_of_another_experiment_is_not_touched(self, tiny, tmp_path):
        reproduce("tiny", tmp_path)
        before = (tmp_path / TINY.name / "run.nc").read_bytes()
        with pytest.raises(storage.StorageError, match="holds the run of another experiment"):
            reproduce("tiny", tmp_path, Conditions(seed=1))
        assert (tmp_path / TINY.name / "run.nc").read_bytes() == before

    def test_errors_come_before_any_work(self, tiny, tmp_path, runs):
        with pytest.raises(InvalidArgumentError, match="scale must be"):
            reproduce("tiny", tmp_path, Conditions(scale="medium"))
        with pytest.raises(InvalidArgumentError, match="device must be one that torch can use"):
            reproduce("tiny", tmp_path, Conditions(device="abacus"))
        missing = Conditions(scale="paper", data=tmp_path / "none.npz")
        with pytest.raises(FlowsError, match=r"path must be an existing file, found .*none\.npz"):
            reproduce("tiny", tmp_path, missing)
        assert runs == []
        assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a short run that ends at the edge of stability."""
    experiment = Experiment("gd", "mlp", "mse", overrides={"steps": 8, "lr": 0.3})
    return run_experiment(experiment, tmp_path_factory.mktemp("run"), Conditions())


class TestDrawings:
    def test_overview(self, run):
        figure = FIGURES["gd-mse"]
        drawing = figure.draw(figure, [run] * len(figure.experiments))
        assert len(drawing.axes) == 3 * 6
        titles = [axes.get_title(loc="left") for axes in drawing.axes]
        assert titles[:6] == ["CNN", "ResNet", "ViT", "GPT", "RNN", "MLP"]
        assert not any(titles[6:])
        assert all(axes.get_legend() is None for axes in drawing.axes)
        (legend,) = drawing.legends
        labels = [text.get_text() for text in legend.get_texts()]
        assert len(set(labels)) == len(labels)
        assert {"optimizer", "central flow", "stable flow"} <= set(labels)

    def test_learning_rates(self, run):
        figure = FIGURES["gd-mlp-mse-lrs"]
        drawing = figure.draw(figure, [run] * 3)
        sharpness, loss, distance = drawing.axes
        (edge, *_), flow = sharpness.get_lines(), run.dataset.sel(process="central")
        assert edge.get_ydata()[0] == pytest.approx(2 / 0.3)
        drawn = [line.get_ydata() for line in sharpness.get_lines() if len(line.get_ydata()) == 9]
        np.testing.assert_allclose(drawn[0], flow.effective_sharpness[:, 0] / 0.3)
        assert len(loss.get_lines()) == len(distance.get_lines()) == 6 + 2
        np.testing.assert_allclose(
            loss.get_lines()[1].get_ydata(), run.dataset.predicted_loss.values
        )

    def test_learning_rates_are_those_of_the_site(self):
        rates = [e.settings("paper").lr for e in FIGURES["gd-vit-mse-lrs"].experiments]
        assert rates == [0.04, 0.02, 0.01]


class TestCommand:
    def test_makes_figures(self, tiny, tmp_path, capsys):
        arguments = ["reproduce", "tiny", "--scale", "small", "--out", str(tmp_path)]
        assert main([*arguments, "--no-progress"]) == 0
        assert capsys.readouterr().out == f"figure: {tmp_path}/tiny.png\n"
        assert (tmp_path / "tiny.png").is_file()

    def test_lists_and_explains(self, capsys):
        assert main(["reproduce", "--list"]) == 0
        listed = capsys.readouterr().out
        assert [line.split()[0] for line in listed.splitlines()] == list(FIGURES)
        assert main(["reproduce", "gd-cnn-mse", "--explain", "--scale", "paper"]) == 0
        assert "docs/minimal.md of the paper's public code" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "give at least one name"),
            (["gd-cnn-mse", "nonsense"], "unknown figure 'nonsense'"),
            (["gd-cnn-mse", "--scale", "huge"], "scale must be one of small, paper, found 'huge'"),
        ],
    )
    def test_mistakes_are_one_line(self, arguments, message, tmp_path, capsys):
        assert main(["reproduce", *arguments, "--out", str(tmp_path / "x")]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("flows: error: ")
        assert message in line
        assert not (tmp_path / "x").exists()


def _without_data(options: dict[str, object]) -> flows.tasks.Task:
    """Return the task, with random images where its data would have to be fetched."""
    if options["task"] != "cifar10":
        return flows.tasks.load(**{("name" if k == "task" else k): v for k, v in options.items()})
    like = flows.tasks.load("digits", examples=4, classes=4)
    return flows.tasks.Task(
        name="cifar10",
        description="random",
        inputs=torch.randn(4, 3, 32, 32),
        targets=like.targets,
        loss=like.loss,
        outputs=4,
        dtype=torch.float32,
    )
