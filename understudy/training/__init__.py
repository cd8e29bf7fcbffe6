"""Classifiers: backbones, arms, the loop, and what is measured of them."""

from understudy.settings import Phase
from understudy.training.arms import ARMS, Arm, check_arm, find_arm
from understudy.training.augmentations import AUGMENTATIONS
from understudy.training.backbones import BACKBONES, Backbone, build_backbone, check_backbone, pretrained_classifier
from understudy.training.classifier import TrainedClassifier, accuracy_and_loss
from understudy.training.compare import check_arms_fit, check_recipe, fit_arm, load_trainings, require_weights, run_arm
from understudy.training.ensemble import Member, fit_ensemble
from understudy.training.guides import Teacher
from understudy.training.history import Measure
from understudy.training.loop import Step
from understudy.training.private import check_private, fit_private
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
    "Member",
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
    "check_private",
    "check_recipe",
    "find_arm",
    "fit_arm",
    "fit_ensemble",
    "fit_private",
    "images_needed",
    "load_trainings",
    "pairs",
    "pretrained_classifier",
    "require_weights",
    "run_arm",
    "tune_arm",
]
