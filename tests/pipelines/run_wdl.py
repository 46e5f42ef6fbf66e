"""`miniwdl` with one more place to run tasks: this machine, without a container. Arguments are those of `miniwdl`."""

import os
import subprocess
import sys

import psutil
from WDL.CLI import main
from WDL.runtime import task_container


class Host(task_container.TaskContainer):
    """Runs the command of a task with bash in the folder that would be mounted into a container."""

    def __init__(self, cfg, run_id, host_dir):
        super().__init__(cfg, run_id, host_dir)
        self.container_dir = host_dir

    @classmethod
    def global_init(cls, cfg, logger):
        pass

    @classmethod
    def detect_resource_limits(cls, cfg, logger):
        return {"cpu": os.cpu_count(), "mem_bytes": psutil.virtual_memory().total}

    def _run(self, logger, terminating, command):
        self.copy_input_files(logger)
        with open(self.host_stdout_txt(), "wb") as out, open(self.host_stderr_txt(), "wb") as err:
            return subprocess.run(["bash", "-c", command], cwd=self.host_work_dir(), stdout=out, stderr=err).returncode


task_container._backends["host"] = Host
os.environ["MINIWDL__SCHEDULER__CONTAINER_BACKEND"] = "host"
sys.exit(main())
