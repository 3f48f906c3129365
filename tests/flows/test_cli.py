"""The command line: what it does, and that every mistake is one line and a non-zero status."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import ccpsolve
import flows
from flows.cli import main, parse
from flows.commands import METHODS, DemoCommand, PlotCommand, RunCommand
from flows.tasks import MODELS, TASKS, demo

TINY = ["--examples", "20", "--classes", "2", "--width", "4"]
TINY += ["--steps", "4", "--lr", "0.05", "--no-progress"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder of a tiny run."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["run", *TINY, "--label-noise", "0.2", "--seed", "3", "--out", str(folder)]) == 0
    return folder


def one_line_of_error(capsys) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("flows: error: ")
    return line.removeprefix("flows: error: ")


class TestRun:
    def test_writes_results_and_a_picture(self, finished):
        assert sorted(path.name for path in finished.iterdir()) == ["figure.png", "run.nc"]
        assert (finished / "figure.png").read_bytes().startswith(b"\x89PNG")
        dataset = flows.load(finished).dataset
        assert dataset.sizes["step"] == 5
        assert set(dataset.process.values) == {"discrete", "central", "stable"}

    def test_records_how_it_came_about(self, finished):
        attributes = flows.load(finished).dataset.attrs
        assert attributes["problem"].startswith("digits: 20 examples, 2 classes, mse, 20% label")
        assert (attributes["method"], attributes["lr"]) == ("gd", 0.05)
        assert (attributes["task"], attributes["model"], attributes["seed"]) == ("digits", "mlp", 3)
        assert attributes["dtype"] == "float64"

    def test_is_the_run_that_python_gives(self, finished):
        task = flows.tasks.load(
            "digits", examples=20, classes=2, label_noise=0.2, seed=3, dtype=torch.float64
        )
        model = flows.tasks.build_model("mlp", task, width=4, seed=3)
        objective = flows.Objective(model, task.loss, task.inputs, task.targets)
        run = flows.run(objective, flows.GD(0.05), steps=4)
        np.testing.assert_array_equal(run.dataset.loss, flows.load(finished).dataset.loss)

    def test_options_reach_the_run(self, tmp_path):
        arguments = "--task sorting --model lstm --depth 1 --width 3 --length 4 --alphabet 3"
        more = "--examples 10 --loss cross-entropy --dtype float32 --processes discrete stable"
        rest = f"--steps 2 --lr 0.1 --warm-start 3 --chunk 5 --no-progress --out {tmp_path / 'x'}"
        assert main(["run", *arguments.split(), *more.split(), *rest.split()]) == 0
        dataset = flows.load(tmp_path / "x").dataset
        assert list(dataset.process.values) == ["discrete", "stable"]
        assert dataset.attrs["dtype"] == "float32"
        assert dataset.attrs["warm_start"] == 3
        assert dataset.attrs["problem"].startswith(
            "sorting: 10 sequences, length 4, alphabet 3, cross-entropy; lstm with "
        )

    @pytest.mark.parametrize(
        ("method", "options", "expected"),
        [
            ("rmsprop", "", {"beta2": 0.99, "eps": 0.0, "bias_correction": 0}),
            (
                "rmsprop-norm",
                "--beta2 0.9 --eps 1e-7 --bias-correction",
                {"beta2": 0.9, "eps": 1e-7, "bias_correction": 1},
            ),
        ],
    )
    def test_methods_and_their_options(self, tmp_path, method, options, expected):
        given = f"--method {method} --lr 1e-4 --steps 2 --out {tmp_path / 'x'} {options}"
        assert main(["run", *TINY, *given.split()]) == 0
        attributes = flows.load(tmp_path / "x").dataset.attrs
        assert attributes["method"] == method
        assert {name: attributes[name] for name in expected} == expected

    def test_summary_tells_distances_certificates_and_counts(self, tmp_path, capsys):
        assert main(["run", *TINY, "--out", str(tmp_path)]) == 0
        said = capsys.readouterr().out
        run = flows.load(tmp_path)
        assert f"ratio {run.scores()['distance_ratio']:.3g}" in said
        assert "complementarity problems: all certified (worst natural residual" in said
        assert "critical directions of the central flow at the end: 0" in said
        gradients = next(line for line in said.splitlines() if line.startswith("gradients"))
        counted = [int(each.replace(",", "")) for each in gradients.split()[1:]]
        assert counted == [run.counts[p]["gradient"] for p in run.dataset.process.values]

    def test_a_process_that_diverges_is_reported_and_the_others_go_on(self, tmp_path, capsys):
        wild = [*TINY, "--lr", "8", "--steps", "8", "--dtype", "float32"]
        wild += ["--processes", "discrete", "stable"]
        assert main(["run", *wild, "--out", str(tmp_path)]) == 0
        assert "discrete stopped early: " in capsys.readouterr().out
        loss = flows.load(tmp_path).dataset.loss
        assert np.isnan(loss.sel(process="discrete").values[-1])
        assert np.isfinite(loss.sel(process="stable").values[-1])

    def test_derivatives_by_differences(self, finished, tmp_path):
        cheap = ["--label-noise", "0.2", "--seed", "3", "--derivatives", "differences"]
        assert main(["run", *TINY, *cheap, "--out", str(tmp_path / "x")]) == 0
        exact, found = flows.load(finished), flows.load(tmp_path / "x")
        assert exact.dataset.attrs["derivatives"] == "autodiff"
        assert found.dataset.attrs["derivatives"] == "differences"
        assert found.counts["central"]["hvp"] == 0
        np.testing.assert_allclose(found.dataset.loss, exact.dataset.loss, rtol=1e-6)

    def test_overwrites_only_when_told(self, finished, capsys):
        before = (finished / "run.nc").read_bytes()
        assert main(["run", *TINY, "--out", str(finished)]) == 1
        assert "already holds a run" in one_line_of_error(capsys)
        assert (finished / "run.nc").read_bytes() == before


class TestDemo:
    def test_is_the_problem_of_the_demo_module(self, tmp_path, capsys):
        out = str(tmp_path / "demo")
        assert main(["demo", "--steps", "2", "--no-progress", "--out", out]) == 0
        attributes = flows.load(out).dataset.attrs
        assert attributes["task"] == demo.DATA["task"]
        assert attributes["lr"] == demo.LR
        assert attributes["steps"] == 2

    def test_defaults(self):
        command = parse(["demo"])
        assert isinstance(command, DemoCommand)
        assert (str(command.out), command.steps) == ("runs/demo", demo.STEPS)


class TestPlot:
    @pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
    def test_draws_in_the_format_asked_for(self, finished, tmp_path, capsys, kind):
        target = tmp_path / f"picture.{kind}"
        assert main(["plot", str(finished), "--out", str(target), "--sigma", "2"]) == 0
        start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[kind]
        assert target.read_bytes().startswith(start)
        assert capsys.readouterr().out == f"figure: {target}\n"

    def test_puts_the_figure_into_the_folder_of_the_run(self, finished):
        (finished / "figure.png").unlink()
        assert main(["plot", str(finished)]) == 0
        assert (finished / "figure.png").is_file()


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("frobnicate", "Unrecognized options: frobnicate"),
            ("run --out x", "Missing from flows run: --lr FLOAT"),
            ("run --lr 0.1", "Missing from flows run: --out FOLDER"),
            ("run --lr x --out x", "--lr: could not convert string to float: 'x'"),
            ("run --lr 0.1 --steps 1.5 --out x", "--steps: invalid literal for int()"),
            ("run --lr 0.1 --out x --depht 3", "Unrecognized options: --depht, 3"),
            ("run --lr 0.1 --out", "Missing value for argument '--out'"),
            ("plot", "Missing from flows plot: RUN_DIR"),
            ("demo --lr 0.1", "options: --lr (applied to flows demo) 0.1"),
        ],
    )
    def test_in_the_arguments(self, capsys, arguments, message):
        assert main(arguments.split()) == 2
        assert message in one_line_of_error(capsys)

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ("--method adamw", f"method must be one of {', '.join(METHODS)}, found 'adamw'"),
            ("--task mnist", f"task must be one of {', '.join(TASKS)}, found 'mnist'"),
            ("--model abacus", f"model must be one of {', '.join(MODELS)}, found 'abacus'"),
            ("--model lstm", "model 'lstm' takes tokens as inputs"),
            ("--dtype float16", "dtype must be one of float32, float64, found 'float16'"),
            ("--device abacus", "device must be one that torch can use here"),
            ("--loss hinge", "loss must be one of mse, cross-entropy, found 'hinge'"),
            ("--activation relu", "activation must be one of gelu, tanh, silu, softplus"),
            ("--processes midnight", "'midnight'"),
            ("--lr -1", "lr must be"),
            ("--lr nan", "lr must be"),
            ("--beta2 0.9", "method 'gd' has no option beta2"),
            ("--bias-correction", "method 'gd' has no option bias_correction"),
            ("--method rmsprop --beta2 1", "beta2 must"),
            ("--steps -1", "steps must be"),
            ("--substeps 0", "substeps must be"),
            (
                "--derivatives exact",
                "derivatives must be one of autodiff, differences, found 'exact'",
            ),
            ("--derivatives differences --dtype float32", "needs weights of torch.float64"),
            ("--chunk 0", "chunk must be"),
            ("--examples 1", "examples must be a whole number at least 2, found 1"),
            ("--label-noise 2", "label_noise must be in 0..1, found 2.0"),
            ("--alphabet 4", "task 'digits' has no option alphabet"),
            ("--path x", "task 'digits' has no option path"),
            ("--seed -1", "seed must be a whole number at least 0, found -1"),
        ],
    )
    def test_in_the_options(self, capsys, tmp_path, option, message):
        given = [*TINY, "--out", str(tmp_path / "x"), *option.split()]
        assert main(["run", *given]) == 1
        assert message in one_line_of_error(capsys)
        assert not (tmp_path / "x" / "run.nc").exists()

    def test_nan_in_the_data(self, capsys, tmp_path):
        images = np.zeros((20, 32, 32, 3))
        images[7, 0, 0, 0] = np.nan
        np.savez(tmp_path / "bad.npz", train_images=images, train_labels=np.arange(20) % 2)
        given = f"--task cifar10 --path {tmp_path / 'bad.npz'} --out {tmp_path / 'x'}"
        assert main(["run", *TINY, *given.split()]) == 1
        message = one_line_of_error(capsys)
        assert message == "inputs must be finite, found NaN or infinity in 1 of 20 examples"
        assert not (tmp_path / "x").exists()

    def test_out_that_cannot_be_written(self, capsys, tmp_path):
        (tmp_path / "file").touch()  # a file where a folder is needed; even root cannot write there
        for command in (["run", *TINY], ["demo", "--no-progress"]):
            assert main([*command, "--out", str(tmp_path / "file" / "x")]) == 1
            assert str(tmp_path / "file") in one_line_of_error(capsys)

    @pytest.mark.parametrize("content", [None, b"not a netCDF file"])
    def test_plot_of_what_is_no_run(self, capsys, tmp_path, content):
        if content is not None:
            (tmp_path / "run.nc").write_bytes(content)
        assert main(["plot", str(tmp_path)]) == 1
        assert str(tmp_path) in one_line_of_error(capsys)

    def test_plot_to_a_bad_place(self, capsys, finished, tmp_path):
        assert main(["plot", str(finished), "--out", "figure.docx"]) == 1
        assert "out must end in one of .png, .pdf, .svg, found" in one_line_of_error(capsys)
        assert main(["plot", str(finished), "--out", str(tmp_path / "no" / "x.png")]) == 1
        assert str(tmp_path / "no") in one_line_of_error(capsys)
        assert main(["plot", str(finished), "--sigma", "-1"]) == 1
        assert "sigma must be" in one_line_of_error(capsys)

    def test_too_little_memory(self, capsys, tmp_path, monkeypatch):
        def too_large(*args, **kwargs):
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 TiB")

        monkeypatch.setattr(flows, "run", too_large)
        assert main(["run", *TINY, "--out", str(tmp_path)]) == 1
        assert "out of memory on cpu: take fewer examples at once" in one_line_of_error(capsys)

    def test_interruption(self, capsys, tmp_path, monkeypatch):
        def interrupted(*args, **kwargs):
            raise KeyboardInterrupt

        monkeypatch.setattr(flows, "run", interrupted)
        assert main(["run", *TINY, "--out", str(tmp_path)]) == 130
        assert one_line_of_error(capsys) == "interrupted"


class TestHelp:
    @pytest.mark.parametrize("arguments", [[], ["--help"], ["run", "--help"], ["plot", "--help"]])
    def test_succeeds(self, capsys, arguments):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
        assert "usage: flows" in capsys.readouterr().out

    def test_run_explains_every_option_with_choices_and_defaults(self, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit):
            main(["run", "--help"])
        text = capsys.readouterr().out
        for names in (TASKS, MODELS, METHODS, ("float32", "float64"), ("mse", "cross-entropy")):
            assert "{" + ",".join(names) + "}" in text
        assert "default: depends on the model" in text
        assert "None" not in text

    def test_version(self, capsys):
        assert main(["--version"]) == 0
        assert capsys.readouterr().out.strip() == ccpsolve.__version__

    def test_parses_into_commands(self):
        assert isinstance(parse(["run", "--lr", "1", "--out", "x"]), RunCommand)
        assert isinstance(parse(["plot", "x"]), PlotCommand)


def test_python_m_flows_passes_the_status_on():
    done = subprocess.run(
        [sys.executable, "-m", "flows", "plot", "no_such_folder"],
        capture_output=True,
        text=True,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("flows: error: ")
    assert len(done.stderr.splitlines()) == 1
