package qupath.lib.io

import groovy.json.JsonSlurper

/** Stands for QuPath's reader of GeoJSON: features as they are, with their id. */
class PathIO {
    static List readObjectsFromGeoJSON(InputStream stream) {
        new JsonSlurper().parse(stream, 'UTF-8').features.collect { new Feature(it) }
    }
}

class Feature {
    final Map content

    Feature(Map content) { this.content = content }

    String getID() { content.id }
}
