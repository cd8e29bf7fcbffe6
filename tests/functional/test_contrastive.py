import math

import torch
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from understudy.functional.contrastive import contrastive_loss


def test_equals_transformers_clip_loss():
    rng = torch.Generator().manual_seed(0)
    images, texts, scale = (
        torch.randn(7, 16, generator=rng),
        torch.randn(7, 16, generator=rng),
        torch.tensor(14.0),
    )
    similarity = torch.nn.functional.normalize(texts) @ torch.nn.functional.normalize(images).T * scale
    torch.testing.assert_close(
        contrastive_loss(images, texts, scale), image_text_contrastive_loss(similarity)
    )


def test_features_that_say_nothing_cost_log_n():
    loss = contrastive_loss(torch.ones(8, 4), torch.ones(8, 4), torch.tensor(10.0))
    assert math.isclose(loss.item(), math.log(8), rel_tol=1e-6)
