"""Classifiers: backbones, arms, the loop, and what is measured of them."""

from understudy.training.arms import ARMS, Arm, Phase
from understudy.training.backbones import BACKBONES, Backbone, build_backbone, check_backbone
from understudy.training.classifier import TrainedClassifier
from understudy.training.compare import fit_arm, run_arm
from understudy.training.loop import Step

__all__ = [
    "ARMS",
    "BACKBONES",
    "Arm",
    "Backbone",
    "Phase",
    "Step",
    "TrainedClassifier",
    "build_backbone",
    "check_backbone",
    "fit_arm",
    "run_arm",
]
