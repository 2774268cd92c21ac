"""Reports as HTML pages: one self-contained file each.

A `Page` consists of `Section`s, and a section of blocks: text, tables, charts, images. All
text is escaped. Charts are SVG drawn by matplotlib, which the extra `report` installs.

Example:
    >>> page = Page("My run", (Section("Accuracy", (Facts((("top-1", "93.5%"),)),)),))
    >>> "top-1" in page.html()
    True
"""

from keras_resnets.reports.blocks import Block
from keras_resnets.reports.blocks import Chart
from keras_resnets.reports.blocks import Code
from keras_resnets.reports.blocks import Details
from keras_resnets.reports.blocks import Facts
from keras_resnets.reports.blocks import Images
from keras_resnets.reports.blocks import Lines
from keras_resnets.reports.blocks import Table
from keras_resnets.reports.blocks import Text
from keras_resnets.reports.blocks import Thumbnail
from keras_resnets.reports.blocks import Tiles
from keras_resnets.reports.page import Page
from keras_resnets.reports.page import Section
from keras_resnets.reports.page import check_place

__all__ = [
    "Block",
    "Chart",
    "Code",
    "Details",
    "Facts",
    "Images",
    "Lines",
    "Page",
    "Section",
    "Table",
    "Text",
    "Thumbnail",
    "Tiles",
    "check_place",
]
