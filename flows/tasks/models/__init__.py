"""Networks of the paper, in the sizes one asks for.

All are smooth (a central flow needs third derivatives of the loss), free of randomness, and start
from weights that the seed alone decides. The defaults are small; each docstring says the size in
the paper's experiments, and what its network is in the manner of.
"""

from flows.tasks.models._activations import ACTIVATIONS
from flows.tasks.models.convolutional import cnn
from flows.tasks.models.perceptron import mlp
from flows.tasks.models.recurrent import lstm, rnn
from flows.tasks.models.residual import resnet
from flows.tasks.models.sequence_transformer import gpt
from flows.tasks.models.vision_transformer import vit

__all__ = ["ACTIVATIONS", "cnn", "gpt", "lstm", "mlp", "resnet", "rnn", "vit"]
