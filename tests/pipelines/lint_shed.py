"""`planemo shed_lint` without the Tool Shed, which it asks for the version there. Arguments are those of shed_lint."""

import sys

import planemo.shed_lint
from planemo.cli import planemo as command

planemo.shed_lint.lint_shed_version = lambda repository, context: None
command(["shed_lint", *sys.argv[1:]])
