// Evaluate a Nextflow process with plain Groovy, as far as its language is Groovy's: the first argument is its file, the
// second the values of its variables as JSON. Prints its container, its outputs (name and members) and its two scripts.
import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.runtime.GStringImpl

/** Variables; a name without a value stands for itself, as in `emit: records`. */
class Names extends Binding {
    Names(Map values) { super(values) }
    Object getVariable(String name) { hasVariable(name) ? super.getVariable(name) : name }
}

/** What a process declares; a word that is not known here returns what it is given. */
abstract class Declarations extends Script {
    List outputs = []
    Object image
    def container(name) { image = name }
    def path(Map options = [:], name) { declare(options, [name]) ?: name }
    def tuple(Map options = [:], Object... members) { declare(options, members as List) }
    def declare(Map options, List members) {
        if (options.emit) outputs << options + [members: members]
    }
    def error(message) { throw new IllegalArgumentException(message as String) }
    def methodMissing(String name, arguments) { arguments[0] }
    Map declared() { [container: image, outputs: outputs] }
}

/** Nextflow writes several files in a script with blanks between them. */
String render(GString text) {
    new GStringImpl(text.values.collect { it instanceof List ? it.join(' ') : it } as Object[], text.strings)
}

def names = new Names(new JsonSlurper().parseText(args[1]))
def body = (new File(args[0]).text =~ /(?s)process \w+ \{\n(.*)\}\s*$/)[0][1]
def (declared, script, stub) = body.split(/(?m)^    (?:script|stub):\n/)
def configuration = new CompilerConfiguration(scriptBaseClass: Declarations.name)
def shell = new GroovyShell(getClass().classLoader, names, configuration)
def commands = [script: script, stub: stub].collectEntries { name, text -> [name, render(shell.evaluate(text))] }
def process = new GroovyShell(getClass().classLoader, names, configuration).parse(declared)
process.run()
println JsonOutput.toJson(commands + process.declared())
