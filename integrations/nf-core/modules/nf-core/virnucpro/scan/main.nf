process VIRNUCPRO_SCAN {
    tag "$meta.id"
    label 'process_medium'

    conda "${ task.accelerator ? "${moduleDir}/environment.gpu.yml" : "${moduleDir}/environment.yml" }"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        (task.accelerator ? 'https://community-cr-prod.seqera.io/docker/registry/v2/blobs/sha256/GPU_IMAGE/data' : 'https://depot.galaxyproject.org/singularity/virnucpro:0.1.0--pyhdfd78af_0') :
        (task.accelerator ? 'community.wave.seqera.io/library/virnucpro_cuda-version_pytorch-gpu:GPU_IMAGE' : 'quay.io/biocontainers/virnucpro:0.1.0--pyhdfd78af_0') }"

    input:
    tuple val(meta), path(fasta)
    path model

    output:
    tuple val(meta), path("${prefix}.regions.tsv")           , emit: regions
    tuple val(meta), path("${prefix}.regions.bed")           , emit: bed
    tuple val(meta), path("${prefix}.regions.gff3")          , emit: gff
    tuple val(meta), path("${prefix}.scores.bedgraph.gz")    , emit: bedgraph
    tuple val(meta), path("${prefix}.regions.fasta.gz")      , emit: fasta
    tuple val(meta), path("${prefix}.report.html")           , emit: report
    tuple val(meta), path("${prefix}.record_*.{png,svg,pdf}"), emit: figures, optional: true
    tuple val("${task.process}"), val('virnucpro'), eval("virnucpro --version"), topic: versions, emit: versions_virnucpro
    tuple val("${task.process}"), val('cuda'), eval('python -c "import torch; print(torch.version.cuda or \'no CUDA available\')"'), topic: versions, emit: versions_cuda

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    def chosen = model ? "--model ${model}" : ''
    def device = task.accelerator ? 'cuda' : 'cpu'
    // Nextflow escapes only some of the characters that have a meaning for the shell, and none of a sample's name.
    if (!(prefix ==~ /\w[\w.+=-]*/)) {
        error("The name of a sample has letters, digits and _ . + = - alone, got: ${prefix}")
    }
    def unsafe = [fasta, model].flatten().findAll { name -> !("${name}" ==~ /(?:[\w.+=,@%:\/-]|\\[^\n])+/) }
    if (unsafe) {
        error("Rename the input, the shell would read its name as a command or pattern: ${unsafe.join(', ')}")
    }
    if ([fasta].flatten().any { name -> "${name}".startsWith("${prefix}.regions") }) {
        error("An input has the name of an output, ${prefix}.regions...; set another ext.prefix")
    }
    """
    virnucpro scan \\
        --device $device \\
        --threads $task.cpus \\
        $chosen \\
        $args \\
        --restart \\
        --output run \\
        -- \\
        $fasta

    for file in run/*; do
        case "\$file" in
            *.bedgraph | *.fasta) gzip --no-name < "\$file" >| "${prefix}.\${file##*/}.gz" ;;
            *.tsv | *.bed | *.gff3 | *.html | *.json | */record_*) cp "\$file" "${prefix}.\${file##*/}" ;;
        esac
    done
    """

    stub:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    if (!(prefix ==~ /\w[\w.+=-]*/)) {
        error("The name of a sample has letters, digits and _ . + = - alone, got: ${prefix}")
    }
    """
    echo $args
    echo "" | gzip > ${prefix}.scores.bedgraph.gz
    echo "" | gzip > ${prefix}.regions.fasta.gz
    touch ${prefix}.regions.tsv ${prefix}.regions.bed ${prefix}.regions.gff3 ${prefix}.report.html ${prefix}.record_00001.png
    """
}
