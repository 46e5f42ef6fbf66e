version 1.0

struct Sample {
    String id
    Array[File]+ reads
    Boolean paired
}

workflow virnucpro {
    meta {
        description: "Find viral sequences in each of several samples"
    }

    input {
        Array[Sample]+ samples
        String preset = "balanced"
        String docker = "virnucpro:0.1.0"
    }

    scatter (sample in samples) {
        call predict {
            input:
                id = sample.id,
                reads = sample.reads,
                paired = sample.paired,
                preset = preset,
                docker = docker
        }
    }

    output {
        Array[File] records = predict.records
        Array[Array[File]] fasta = predict.fasta
        Array[Array[File]] fastq = predict.fastq
        Array[File] report = predict.report
        Array[File] run = predict.run
        Array[File] multiqc = predict.multiqc
        String version = predict.version[0]
    }
}

task predict {
    meta {
        description: "Call every record of the input virus or other"
    }

    parameter_meta {
        id: "name of the sample and of the output directory"
        reads: "FASTA or FASTQ files, plain or compressed"
        paired: "the two files are mates; each pair gets one call"
        preset: "sensitive, balanced or strict"
        docker: "image made from integrations/container/Dockerfile"
        retries: "how often a task that was stopped, as on a preempted machine, is begun anew"
    }

    input {
        String id
        Array[File]+ reads
        Boolean paired = false
        String preset = "balanced"
        String docker = "virnucpro:0.1.0"
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
        if [ "${#reads[@]}" -ne ~{length(reads)} ]; then
            echo 'a line break in the name of a file; rename the file' >&2
            exit 2
        fi
        virnucpro --version > version.txt
        virnucpro predict \
            --output "$id" \
            --preset "$preset" \
            --threads ~{cpu} \
            ~{if paired then "--paired" else ""} \
            -- "${reads[@]}"
    >>>

    output {
        File records = "~{id}/records.tsv"
        Array[File] fasta = glob("~{id}/viral*.fasta")
        Array[File] fastq = glob("~{id}/viral*.fastq")
        File report = "~{id}/report.html"
        File run = "~{id}/run.json"
        File multiqc = "~{id}/virnucpro_mqc.json"
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
