"""Adapting pretrained models: priors and losses for canonicalizers, and the loop that trains them."""

from .accuracy import Accuracy, Interval, accuracy, correct
from .checkpoint import load_weights, save_weights
from .consistency import IndexConsistency, index_consistency
from .contrastive import Contrastive, Reference
from .fitting import fit
from .gate import Gate
from .likelihood import Categorical, Gaussian, Likelihood
from .loss import Function, Loss, Sum
from .model_prior import ModelPrior
from .objective import Batch, Objective, Outcome, read_batch, training_mode
from .options import Fitted, Options, make_optimizer
from .prior import HistogramPrior, IdentityPrior
from .realign import Assigned, Round, realign
from .rotations import MatrixFisher, VonMises
from .soft import SoftFit, SoftSymmetry
from .step import Step
from .task import Task, cross_entropy, logits, squared_error
from .weight_sharing import isotonic, prox, prox_, sharing_penalty

__all__ = [
    "Accuracy",
    "Assigned",
    "Batch",
    "Categorical",
    "Contrastive",
    "Fitted",
    "Function",
    "Gate",
    "Gaussian",
    "HistogramPrior",
    "IdentityPrior",
    "IndexConsistency",
    "Interval",
    "Likelihood",
    "Loss",
    "MatrixFisher",
    "ModelPrior",
    "Objective",
    "Options",
    "Outcome",
    "Reference",
    "Round",
    "SoftFit",
    "SoftSymmetry",
    "Step",
    "Sum",
    "Task",
    "VonMises",
    "accuracy",
    "correct",
    "cross_entropy",
    "fit",
    "index_consistency",
    "isotonic",
    "load_weights",
    "logits",
    "make_optimizer",
    "prox",
    "prox_",
    "read_batch",
    "realign",
    "save_weights",
    "sharing_penalty",
    "squared_error",
    "training_mode",
]
