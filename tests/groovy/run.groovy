// Runs a script as QuPath does, with what it offers to scripts replaced: run.groovy FOLDER SCRIPT WIDTH HEIGHT [no-slide]
// FOLDER is that of this file: QuPath's own classes are replaced by those in it.
import groovy.json.JsonOutput

def loader = new GroovyClassLoader(this.class.classLoader)
loader.addClasspath(args[0])
def hierarchy = []
def server = [getWidth: { args[2] as int }, getHeight: { args[3] as int }]
def offered = [
    getCurrentImageData: { args.length > 4 ? null : [getServer: { server }] },
    getAllObjects: { boolean root -> new ArrayList(hierarchy) },
    removeObjects: { objects, boolean keepChildren -> hierarchy.removeAll(objects) },
    addObjects: { objects -> hierarchy.addAll(objects) },
    fireHierarchyUpdate: { -> },
]
def script = new File(args[1])
2.times { new GroovyShell(loader, new Binding(offered)).evaluate(script) }
println JsonOutput.toJson([spaces: hierarchy*.space.unique(), features: hierarchy*.content])
