"""`understudy preview`."""

import numpy as np
from PIL import Image
from tiny_job import OPTIONS, tree, write_pets


def test_preview_draws_a_few_and_estimates(understudy, tmp_path, tiny_pipeline_folder):
    write_pets("pets")
    before = tree(tmp_path)
    code, out, err = understudy(
        "preview", "pets", "--to", "new/sheet.png", "--generator", tiny_pipeline_folder, *OPTIONS
    )
    assert code == 0
    assert err == ""
    assert set(tree(tmp_path)) - set(before) == {"new", "new/sheet.png"}
    sheet = Image.open("new/sheet.png")
    # Two columns; four real images, a gap and four drawn ones; 16 pixels enlarged four times.
    assert (sheet.format, sheet.size) == ("PNG", (2 * 64, 4 * 64 + 16 + 4 * 64))
    assert len(np.unique(np.asarray(sheet.convert("L")))) > 10
    assert [
        name
        for name in ("adapt", "draw", "compare", "total", "disk", "for 6 images at", "images/s")
        if name not in out
    ] == []
