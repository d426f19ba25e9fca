"""python -m pyops"""
from .cli import main

raise SystemExit(main())
