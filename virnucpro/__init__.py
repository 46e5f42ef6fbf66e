"""virnucpro: find viral sequences among short DNA with packed transformer encoders."""

__version__ = "0.1.0"
