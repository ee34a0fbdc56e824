"""``python -m coset`` is the ``coset`` command."""

from .cli import app

if __name__ == "__main__":
    app(prog_name="coset")
