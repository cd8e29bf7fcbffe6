"""Classifiers: backbones, arms, the loop, and what is measured of them."""

from understudy.settings import Phase
from understudy.training.arms import ARMS, Arm, check_arm, find_arm
from understudy.training.augmentations import AUGMENTATIONS
from understudy.training.backbones import BACKBONES, Backbone, build_backbone, check_backbone, pretrained_classifier
from understudy.training.classifier import TrainedClassifier, accuracy_and_loss
from understudy.training.compare import check_arms_fit, check_recipe, fit_arm, run_arm
from understudy.training.guides import Teacher
from understudy.training.history import Measure
from understudy.training.loop import Step
from understudy.training.refresh import images_needed
from understudy.training.schedules import SCHEDULES
from understudy.training.tune import best_trial, pairs, tune_arm

__all__ = [
    "ARMS",
    "AUGMENTATIONS",
    "BACKBONES",
    "SCHEDULES",
    "Arm",
    "Backbone",
    "Measure",
    "Phase",
    "Step",
    "Teacher",
    "TrainedClassifier",
    "accuracy_and_loss",
    "best_trial",
    "build_backbone",
    "check_arm",
    "check_arms_fit",
    "check_backbone",
    "check_recipe",
    "find_arm",
    "fit_arm",
    "images_needed",
    "pairs",
    "pretrained_classifier",
    "run_arm",
    "tune_arm",
]
