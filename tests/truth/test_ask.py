"""What ``ask`` answers is what a plain scan of the files says: every count, first, last, host and account."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import duckdb
import pytest

from ingesting import ingest
from lakes import OPERATOR
from mingjian.formats import registry
from mingjian.formats.containers import open_members
from mingjian.formats.text import utf8
from mingjian.model.blocks import Piece, Quarantined
from mingjian.model.sources import ObservableKind
from mingjian.situations.asking import Question, ask
from mingjian.situations.story import time_text
from mingjian.sources.definitions import load_sources
from mingjian.sources.envelope import envelope, observables
from mingjian.sources.router import Router
from mingjian.store.catalogue import live_segments
from mingjian.store.merging import merge, plan_merges
from mingjian.store.workspace import Workspace, create
from truth.compare import files_under

SOURCES = load_sources()
ASKED_MAX = 60
