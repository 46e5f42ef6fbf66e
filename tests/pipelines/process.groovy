// Evaluate a Nextflow process with plain Groovy, as far as its language is Groovy's: the first argument is its file, the
// second a JSON list of cases, each the values of its variables. Prints a JSON list: for each case its environment, its
// container, its outputs (name and members) and its two scripts, or the error that it reports.
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
    Object image, environment
    def conda(name) { environment = name }
    def container(name) { image = name }
    def path(Map options = [:], name) { declare(options, [name]) ?: name }
    def tuple(Map options = [:], Object... members) { declare(options, members as List) }
    def declare(Map options, List members) {
        if (options.emit) outputs << options + [members: members]
    }
    def error(message) { throw new IllegalArgumentException(message as String) }
    def methodMissing(String name, arguments) { arguments[0] }
    Map declared() { [conda: environment, container: image, outputs: outputs] }
}

/** Nextflow writes several files in a script with blanks between them. */
String render(GString text) {
    new GStringImpl(text.values.collect { it instanceof List ? it.join(' ') : it } as Object[], text.strings)
}

def body = (new File(args[0]).text =~ /(?s)process \w+ \{\n(.*)\}\s*$/)[0][1]
def (declared, script, stub) = body.split(/(?m)^    (?:script|stub):\n/)
def configuration = new CompilerConfiguration(scriptBaseClass: Declarations.name)
def cases = new JsonSlurper().parseText(args[1]).collect { values ->
    def names = new Names(values)
    def shell = new GroovyShell(getClass().classLoader, names, configuration)
    try {
        def commands = [script: script, stub: stub].collectEntries { name, text -> [name, render(shell.evaluate(text))] }
        def process = shell.parse(declared)
        process.run()
        commands + process.declared()
    } catch (IllegalArgumentException refusal) {
        [error: refusal.message]
    }
}
println JsonOutput.toJson(cases)
