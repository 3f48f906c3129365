"""Tasks: data, targets and losses, and what they refuse."""

from __future__ import annotations

import io
import socket
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from flows import tasks
from flows._errors import FlowsError, InvalidArgumentError
from flows.tasks import Task
from flows.tasks.losses import cross_entropy, mean_squared_error, on_last_positions

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not (SHARED / "cifar10_subset.npz").is_file(), reason="needs the folder ../shared/data"
)


class TestDigits:
    def test_shapes_balance_and_standardisation(self):
        task = tasks.load("digits", examples=1000, dtype=torch.float64)
        assert task.inputs.shape == (1000, 1, 8, 8)
        assert task.input_shape == (1, 8, 8)
        assert task.outputs == 10
        assert task.inputs.dtype == task.targets.dtype == torch.float64
        torch.testing.assert_close(task.targets.sum(0), torch.full((10,), 100.0).double())
        assert abs(task.inputs.mean()) < 0.02
        assert abs(task.inputs.std() - 1) < 0.02

    def test_pixels_are_those_of_the_data_set_up_to_scale(self):
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        task = tasks.load("digits", examples=2, classes=2, dtype=torch.float64)
        first_one = images[np.flatnonzero(labels == 1)[0]]
        pixels = task.inputs[1].flatten().numpy()
        assert np.corrcoef(pixels, first_one)[0, 1] == pytest.approx(1.0)

    def test_a_remainder_goes_to_the_first_classes(self):
        task = tasks.load("digits", examples=11, classes=3)
        assert task.targets.sum(0).tolist() == [4, 4, 3]

    @pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 1.0])
    def test_label_noise_changes_exactly_that_fraction(self, fraction):
        clean = tasks.load("digits", examples=200, classes=4)
        noisy = tasks.load("digits", examples=200, classes=4, label_noise=fraction, seed=3)
        changed = (clean.targets != noisy.targets).any(dim=1)
        assert int(changed.sum()) == round(200 * fraction)
        assert noisy.targets.sum(1).eq(1).all()
        assert torch.equal(clean.inputs, noisy.inputs)

    def test_the_seed_decides_the_noise(self):
        def noisy(seed):
            return tasks.load("digits", examples=200, label_noise=0.5, seed=seed).targets

        assert torch.equal(noisy(1), noisy(1))
        assert not torch.equal(noisy(1), noisy(2))

    def test_description_names_the_options(self):
        task = tasks.load("digits", examples=40, classes=4, label_noise=0.1, loss="cross-entropy")
        assert task.description == "digits: 40 examples, 4 classes, cross-entropy, 10% label noise"


class TestSorting:
    def test_next_token_form(self):
        task = tasks.load("sorting", examples=50, loss="cross-entropy")
        assert task.inputs.shape == (50, 15)
        assert task.targets.shape == (50, 8)
        assert (task.outputs, task.alphabet) == (4, 4)
        sequence, continuation = task.inputs[:, :8], task.inputs[:, 8:]
        assert torch.equal(task.targets, sequence.sort(dim=1).values)
        assert torch.equal(continuation, task.targets[:, :-1])

    def test_all_letters_occur_and_the_seed_decides(self):
        first = tasks.load("sorting", examples=50, alphabet=6, seed=1).inputs
        assert first.unique().tolist() == list(range(6))
        assert torch.equal(first, tasks.load("sorting", examples=50, alphabet=6, seed=1).inputs)
        assert not torch.equal(first, tasks.load("sorting", examples=50, alphabet=6, seed=2).inputs)

    @pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
    def test_a_perfect_answer_has_no_loss_and_early_positions_do_not_count(self, loss):
        task = tasks.load("sorting", examples=20, loss=loss)
        letters = task.inputs[:, :8].sort(dim=1).values
        outputs = torch.full((20, 15, 4), torch.nan)
        outputs[:, -8:] = torch.nn.functional.one_hot(letters, 4) * (1 if loss == "mse" else 1e3)
        assert task.loss(outputs, task.targets) == 0


class TestCifar10:
    @needs_shared
    def test_gives_the_images_that_the_golden_runs_were_made_of(self):
        golden = np.load(SHARED / "golden" / "c_mlp32_f64.npz")
        task = tasks.load(
            "cifar10",
            examples=100,
            classes=4,
            path=SHARED / "cifar10_subset.npz",
            loss="cross-entropy",
            dtype=torch.float64,
        )
        # The golden images are in another order; each of ours must be one of them.
        theirs = torch.tensor(golden["x_train"]).flatten(1)
        distance = torch.cdist(task.inputs.flatten(1), theirs)
        nearest, match = distance.min(dim=1)
        assert nearest.max() < 1e-4
        assert sorted(match.tolist()) == list(range(100))
        assert np.array_equal(golden["y_train"][match.numpy()], task.targets.numpy())

    def test_archive_and_npz_hold_the_same(self, tmp_path):
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, size=(100, 32, 32, 3), dtype=np.uint8)
        labels = np.tile(np.arange(10, dtype=np.uint8), 10)
        np.savez(tmp_path / "local.npz", train_images=images, train_labels=labels)
        records = [
            bytes([label]) + image.transpose(2, 0, 1).tobytes()
            for image, label in zip(images, labels, strict=True)
        ]
        with tarfile.open(tmp_path / "local.tar.gz", "w:gz") as archive:
            for batch in range(5):
                content = b"".join(records[20 * batch : 20 * (batch + 1)])
                info = tarfile.TarInfo(f"cifar-10-batches-bin/data_batch_{batch + 1}.bin")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        options = {"examples": 50, "classes": 5}
        one = tasks.load("cifar10", path=tmp_path / "local.npz", **options)
        other = tasks.load("cifar10", path=tmp_path / "local.tar.gz", **options)
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)
        red = (images[0, 3, 5, 0] / 255 - 0.49139968) / 0.24703233
        assert one.inputs[0, 0, 3, 5].item() == pytest.approx(red, rel=1e-5)

    def test_nan_in_the_data_is_refused(self, tmp_path):
        images = np.zeros((20, 32, 32, 3))
        images[3, 4, 5, 1] = np.nan
        np.savez(tmp_path / "bad.npz", train_images=images, train_labels=np.arange(20) % 10)
        with pytest.raises(InvalidArgumentError, match=r"inputs .* NaN or infinity in 1 of 20"):
            tasks.load("cifar10", examples=20, path=tmp_path / "bad.npz")

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"train_images": np.zeros((10, 32, 32, 3))}, "train_labels"),
            (
                {"train_images": np.zeros((10, 3, 32, 32)), "train_labels": np.arange(10)},
                r"\(10, 3, 32, 32\)",
            ),
            (
                {"train_images": np.zeros((10, 32, 32, 3)), "train_labels": np.arange(10) + 1},
                r"labels in 0..9, found 1..10",
            ),
            (
                {"train_images": np.full((10, 32, 32, 3), 256.0), "train_labels": np.arange(10)},
                r"pixels in 0..255, found 256..256",
            ),
            (
                {"train_images": np.zeros((10, 32, 32, 3), complex), "train_labels": np.arange(10)},
                "complex128",
            ),
        ],
    )
    def test_files_of_another_form_are_refused(self, tmp_path, arrays, message):
        np.savez(tmp_path / "other.npz", **arrays)
        with pytest.raises(InvalidArgumentError, match=message):
            tasks.load("cifar10", examples=10, path=tmp_path / "other.npz")

    @pytest.mark.parametrize("name", ["broken.npz", "broken.tar.gz"])
    def test_broken_and_missing_files_are_refused(self, tmp_path, name):
        with pytest.raises(InvalidArgumentError, match="existing file"):
            tasks.load("cifar10", path=tmp_path / name)
        (tmp_path / name).write_bytes(b"not what it seems")
        with pytest.raises(InvalidArgumentError, match=r"path must be cifar-10-binary.tar.gz or"):
            tasks.load("cifar10", path=tmp_path / name)

    def test_pickled_arrays_are_not_loaded(self, tmp_path):
        np.savez(
            tmp_path / "pickle.npz",
            train_images=np.array([None, {}], dtype=object),
            train_labels=np.arange(2),
        )
        with pytest.raises(InvalidArgumentError, match="allow_pickle=False"):
            tasks.load("cifar10", path=tmp_path / "pickle.npz")

    def test_no_network_says_to_give_a_local_copy(self, tmp_path, monkeypatch):
        def no_network(*args, **kwargs):
            raise OSError("no network in this test")

        monkeypatch.setattr(socket, "getaddrinfo", no_network)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        with pytest.raises(FlowsError, match="give path="):
            tasks.load("cifar10")


class TestLosses:
    def test_mean_squared_error_by_hand(self):
        outputs = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
        targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        assert mean_squared_error(outputs, targets) == (0.5 * 4 + 0.5 * 4) / 2

    def test_mean_squared_error_refuses_to_broadcast(self):
        with pytest.raises(InvalidArgumentError, match="same shape"):
            mean_squared_error(torch.zeros(4, 1), torch.zeros(4))

    def test_cross_entropy_by_hand(self):
        outputs = torch.tensor([[0.0, np.log(3.0)]], dtype=torch.float64)
        assert cross_entropy(outputs, torch.tensor([1])).item() == pytest.approx(np.log(4 / 3))

    def test_last_positions_are_examples(self):
        outputs, targets = torch.randn(3, 5, 4), torch.randn(3, 2, 4)
        expected = mean_squared_error(outputs[:, 3:].reshape(6, 4), targets.reshape(6, 4))
        assert on_last_positions(mean_squared_error, 2)(outputs, targets) == expected


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mnist", {}, r"task must be one of digits, sorting, cifar10, found 'mnist'"),
        ("digits", {"path": "x"}, r"task 'digits' has no option path; allowed are examples"),
        ("digits", {"examples": 2.5}, r"examples must be a whole number .*, found 2.5"),
        ("digits", {"examples": 5}, r"examples must be a whole number at least 10, found 5"),
        ("digits", {"examples": 1797}, r"only 178"),
        ("digits", {"classes": 11}, r"classes must be a whole number in 2..10, found 11"),
        ("digits", {"label_noise": 1.5}, r"label_noise must be in 0..1, found 1.5"),
        ("digits", {"label_noise": float("nan")}, r"label_noise must be in 0..1, found nan"),
        ("digits", {"loss": "hinge"}, r"loss must be one of mse, cross-entropy, found 'hinge'"),
        ("digits", {"seed": -1}, r"seed must be a whole number at least 0, found -1"),
        ("digits", {"dtype": torch.int32}, r"dtype must be .*, found torch.int32"),
        ("sorting", {"length": 1}, r"length must be a whole number at least 2, found 1"),
        ("sorting", {"alphabet": True}, r"alphabet must be .*, found True"),
    ],
)
def test_refusals_name_the_argument(name, options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        tasks.load(name, **options)


@pytest.mark.parametrize(("inputs", "targets"), [(0, 0), (3, 4)])
def test_a_task_needs_as_many_targets_as_inputs(inputs, targets):
    with pytest.raises(InvalidArgumentError, match=f"found {inputs} inputs and {targets} targets"):
        Task(
            name="mine",
            description="",
            inputs=torch.zeros(inputs, 2),
            targets=torch.zeros(targets, 2),
            loss=mean_squared_error,
            outputs=2,
            dtype=torch.float32,
        )
