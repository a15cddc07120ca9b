"""The script that brings the regions of a job into QuPath."""

import base64
from datetime import UTC, datetime

from workers.core.schemas import Plan

FILENAME = "open-in-qupath.groovy"
REGIONS = "regions.geojson.gz"

# A slide's name comes from whoever uploaded it. In base64 it is no part of the code, whatever it holds.
SCRIPT = """\
// Regions of job {job_id}, for the slide that is open in QuPath.
// Open the slide, then: Automate > Script editor, open this file, Run. Run again, it replaces what it brought before.
import java.util.zip.GZIPInputStream
import qupath.lib.io.PathIO

// Without a key until {end} UTC; after that fetch the script again, or name a file that you downloaded.
// Behind a proxy that speaks TLS this has to be https.
def address = '{address}'
def file = ''

def slide = new String('{slide}'.decodeBase64(), 'UTF-8')
def whole = [{l0_width}, {l0_height}]     // level-0 px
def cropped = [{cropped_width}, {cropped_height}]   // what QuPath shows, unless it was told not to crop

def imageData = getCurrentImageData()
if (imageData == null) {{
    throw new IllegalStateException('No slide is open. Open ' + slide)
}}
def server = imageData.getServer()
def size = [server.getWidth(), server.getHeight()]
if (size != cropped && size != whole) {{
    throw new IllegalStateException('The open image has ' + size + ' pixels. Open ' + slide + ': ' + whole)
}}
def space = size == cropped ? 'qupath' : 'level0'
def input = file ? new FileInputStream(file) : new URL(address + '&space=' + space).openStream()
def objects = new GZIPInputStream(input).withCloseable {{ PathIO.readObjectsFromGeoJSON(it) }}

def ids = objects.collect {{ it.getID() }} as Set
removeObjects(getAllObjects(false).findAll {{ it.getID() in ids }}, true)
addObjects(objects)
fireHierarchyUpdate()
println objects.size() + ' regions'
"""


def script(plan: Plan, slide_name: str, address: str, expires: int) -> str:
    """Return the script, in Groovy.

    Args:
        plan: Of the job: size and bounds of its slide.
        slide_name: For people.
        address: Of the job's `regions.geojson.gz`, with a query that opens it; of URL characters only.
        expires: Unix seconds until which it does.
    """
    geometry = plan.geometry
    _, _, width, height = geometry.bounds or (0, 0, geometry.l0_width, geometry.l0_height)
    return SCRIPT.format(
        job_id=plan.job_id,
        end=datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%d %H:%M"),
        address=address,
        slide=base64.b64encode(slide_name.encode()).decode(),
        l0_width=geometry.l0_width,
        l0_height=geometry.l0_height,
        cropped_width=width,
        cropped_height=height,
    )
