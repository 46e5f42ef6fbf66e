version 1.0

struct Sample {
    String id
    Array[File]+ reads
    Boolean paired
}

workflow virnucpro {
    meta {
        description: "Find viral sequences in each of several samples"
        author: "The virnucpro developers"
        allowNestedInputs: true
    }

    parameter_meta {
        samples: "each with an id, its FASTA or FASTQ files (plain or compressed), and whether two files are mates"
        preset: "sensitive, balanced or strict"
        options: "more options of virnucpro predict, one word each, such as ['--min-length', '100']"
        docker: "image with its registry; integrations/container has the recipe for one of your own"
    }

    input {
        Array[Sample]+ samples
        String preset = "balanced"
        Array[String] options = []
        String docker = "quay.io/biocontainers/virnucpro:0.1.0--pyhdfd78af_0"
    }

    scatter (sample in samples) {
        call predict {
            input:
                id = sample.id,
                reads = sample.reads,
                paired = sample.paired,
                preset = preset,
                options = options,
                docker = docker
        }
    }

    output {
        Array[File] records = predict.records
        Array[File] chunks = predict.chunks
        Array[File] frames = predict.frames
        Array[Array[File]] fasta = predict.fasta
        Array[Array[File]] fastq = predict.fastq
        Array[File] report = predict.report
        Array[File] run = predict.run
        Array[File] multiqc = predict.multiqc
        Array[File] composition = predict.composition
        String version = predict.version[0]
    }
}

task predict {
    meta {
        description: "Call every record of the input virus or other"
        author: "The virnucpro developers"
    }

    parameter_meta {
        id: "name of the sample and of the output directory"
        reads: "FASTA or FASTQ files, plain or compressed"
        paired: "the two files are mates; each pair gets one call"
        preset: "sensitive, balanced or strict"
        options: "more options of virnucpro predict, one word each"
        docker: "image with its registry"
        cpu: "CPU cores"
        memory_gb: "memory, GiB"
        disk_gb: "disk, GiB"
        retries: "how often a task that was stopped, as on a preempted machine, starts again"
    }

    input {
        String id
        Array[File]+ reads
        Boolean paired = false
        String preset = "balanced"
        Array[String] options = []
        String docker = "quay.io/biocontainers/virnucpro:0.1.0--pyhdfd78af_0"
        Int cpu = 4
        Int memory_gb = 8
        Int disk_gb = ceil(3 * size(reads, "GiB")) + 10
        Int retries = 2
    }

    command <<<
        set -euo pipefail
        # Quoted for the shell, with each ' in the text written as '"'"'.
        id='~{sub(id, "'", "'\"'\"'")}'
        preset='~{sub(preset, "'", "'\"'\"'")}'
        # The id names a directory, and outputs are found by patterns with it.
        if ! (LC_ALL=C; [[ "$id" =~ ^[A-Za-z0-9_][A-Za-z0-9_.+=\ -]*$ ]]); then
            printf 'the id of a sample has letters, digits, blanks and _ . + = - alone, got: %q\n' "$id" >&2
            exit 2
        fi
        mapfile -t reads < '~{write_lines(reads)}'
        mapfile -t options < '~{write_lines(options)}'
        if [ "${#reads[@]}" -ne ~{length(reads)} ] || [ "${#options[@]}" -ne ~{length(options)} ]; then
            echo 'a line break in the name of a file or in an option; rename the file' >&2
            exit 2
        fi
        virnucpro --version > version.txt
        virnucpro predict \
            --output "$id" \
            --preset "$preset" \
            --sample "$id" \
            --threads ~{cpu} \
            ~{if paired then "--paired" else ""} \
            "${options[@]}" \
            -- "${reads[@]}"
    >>>

    output {
        File records = "~{id}/records.tsv"
        File chunks = "~{id}/chunks.tsv"
        File frames = "~{id}/frames.tsv"
        Array[File] fasta = glob("~{id}/viral*.fasta")
        Array[File] fastq = glob("~{id}/viral*.fastq")
        File report = "~{id}/report.html"
        File run = "~{id}/run.json"
        File multiqc = "~{id}/virnucpro_mqc.json"
        File composition = "~{id}/virnucpro_composition_mqc.json"
        String version = read_string("version.txt")
    }

    runtime {
        docker: docker
        cpu: cpu
        memory: "~{memory_gb} GiB"
        disks: "local-disk ~{disk_gb} SSD"
        maxRetries: retries
        preemptible: retries
    }
}
