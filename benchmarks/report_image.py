"""The image of docs/reports.md: the top of a page in a browser, and dark on a phone.

python benchmarks/report_image.py evaluated.html docs/images/report.png
"""

import io
import pathlib
import sys

from PIL import Image

from keras_resnets.deploy.toolchains import chromium

# Above the images of a data set, which are not ours to publish.
_WIDTH, _PHONE, _HEIGHT, _GAP = 1000, 360, 1180, 24


def main(page, output):
    """Writes `output`, a PNG of few colours."""
    address = pathlib.Path(page).resolve().as_uri()
    with chromium.opened(chromium.find(), address) as shown:
        shown.wait("document.readyState == 'complete'")
        parts = [
            Image.open(io.BytesIO(shown.screenshot(width, _HEIGHT, dark)))
            for width, dark in ((_WIDTH, False), (_PHONE, True))
        ]
    image = Image.new("RGB", (_WIDTH + _GAP + _PHONE, _HEIGHT), "white")
    image.paste(parts[0], (0, 0))
    image.paste(parts[1], (_WIDTH + _GAP, 0))
    image.quantize(255, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        output, optimize=True
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
