"""Records of the environment can be stored."""

import json

from understudy.core.provenance import environment


def test_the_environment_is_json():
    json.dumps(environment("cpu"))
