package qupath.lib.io

import groovy.json.JsonSlurper

/** Stands for QuPath's reader of GeoJSON: features as they are, with their id, and the frame that their file names. */
class PathIO {
    static List readObjectsFromGeoJSON(InputStream stream) {
        def whole = new JsonSlurper().parse(stream, 'UTF-8')
        whole.features.collect { new Feature(it, whole.coordinate_space) }
    }
}

class Feature {
    final Map content
    final String space

    Feature(Map content, String space) {
        this.content = content
        this.space = space
    }

    String getID() { content.id }
}
