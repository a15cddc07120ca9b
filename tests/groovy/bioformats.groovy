// What Bio-Formats sees of images: bioformats.groovy JAR FOLDER FILE... writes one line of JSON for each file, and the
// pixels of its resolutions into FOLDER, as they are, under the names <number of the file>-<number of the resolution>.
// JAR holds Bio-Formats. It is not on the class path, for Groovy would take Java's own XML classes out of it too.
import groovy.json.JsonOutput

def (jar, folder) = args.take(2)
def loader = new URLClassLoader(new File(jar).toURI().toURL())
Thread.currentThread().contextClassLoader = loader
def made = { name -> loader.loadClass(name).newInstance() }
def um = loader.loadClass('ome.units.UNITS').MICROMETER
loader.loadClass('loci.common.DebugTools').setRootLevel('ERROR')

args.drop(2).eachWithIndex { path, number ->
    def service = made('loci.common.services.ServiceFactory').getInstance(loader.loadClass('loci.formats.services.OMEXMLService'))
    def metadata = service.createOMEXMLMetadata()
    def reader = made('loci.formats.ImageReader')
    reader.setMetadataStore(metadata)
    reader.setFlattenedResolutions(false)
    reader.setId(path)
    def sizes = (0..<reader.getResolutionCount()).collect { resolution ->
        reader.setResolution(resolution)
        new File(folder, "${number}-${resolution}").bytes = reader.openBytes(0)
        [reader.getSizeX(), reader.getSizeY()]
    }
    println JsonOutput.toJson([
        format: reader.getFormat(), series: reader.getSeriesCount(), planes: reader.getImageCount(), sizes: sizes,
        indexed: reader.isIndexed(), colors: reader.get8BitLookupTable()?.collect { ramp -> [ramp[0] & 255, ramp[1] & 255] },
        um: [metadata.getPixelsPhysicalSizeX(0), metadata.getPixelsPhysicalSizeY(0)]*.value(um),
    ])
    reader.close()
}
