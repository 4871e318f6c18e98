"""Tables of single programmes: factors of a recommender, lists of podcasts and mixes."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from churn.sources.simulator.content import GENRES, IPLAYER, SOUNDS, Catalogue, Flags, Floats
from churn.sources.simulator.faults import MISSING_TEXTS, Texts, replace_by_missing
from churn.sources.simulator.side_schemas import (
    CONTENT_TABLES,
    FACTORS,
    IPLAYER_FACTORS,
    MIXES,
    MIXES_ON_SHOW,
    PODCASTS,
    SOUNDS_FACTORS,
)

FACTOR_NOISE = 0.4
HAS_FACTORS = 0.9  # share of content with factors
UNKNOWN = 0.01  # entries that are not in the catalogue, per entry that is
BLANK = 0.005  # share of missing ids
PODCAST_LISTED = 0.95  # share of the content of BBC Sounds Podcasts
RADIO_PODCASTS = 0.3  # share of other Sounds brands that are also podcasts
MIX_BRANDS, MIX_ONE_OFFS = 0.3, 0.5  # shares of music content that is neither podcast nor live
MIX_CATALOGUED, MIX_ON_SHOW = 0.8, 0.4


@dataclass(frozen=True)
class Content:
    """The catalogue's versions grouped by content.

    Attributes:
        ids: (contents,) sorted ids of brands, or else series or episodes, of both products.
        genres: (contents, genres) weights of genres, which sum to 1.
        product: (contents,) ``IPLAYER`` or ``SOUNDS``.
        of_version: (versions,) position in ``ids``; -1 for clips without content.
        brand: (contents,) whether the id is that of a brand.
        podcasts: (contents,) whether BBC Sounds Podcasts publishes it.
        live: (contents,) whether it is mostly watched as a live broadcast.
    """

    ids: Texts
    genres: Floats
    product: NDArray[np.integer]
    of_version: NDArray[np.integer]
    brand: Flags
    podcasts: Flags
    live: Flags


def content_of(catalogue: Catalogue) -> Content:
    """Return the catalogue's versions grouped by content."""
    columns = {
        name: np.array(catalogue.table[name].to_pylist(), dtype=object)
        for name in ("brand_id", "series_id", "episode_id", "pips_genre_level_1_names")
    }
    content = np.full(catalogue.table.num_rows, "", dtype=object)
    for name in ("episode_id", "series_id", "brand_id"):
        known = ~np.isin(columns[name], MISSING_TEXTS)
        content[known] = columns[name][known]
    named = np.flatnonzero(content != "")
    ids, first, position = np.unique(content[named], return_index=True, return_inverse=True)
    of_version = np.full(len(content), -1)
    of_version[named] = position
    version = named[first]
    masters = np.array(catalogue.table["master_brand_id"].to_pylist(), dtype=object)
    media = np.array(catalogue.table["media_type"].to_pylist(), dtype=object)
    genres = np.zeros((len(ids), len(GENRES)))
    for row, text in enumerate(columns["pips_genre_level_1_names"][version]):
        names = text.split(";")
        genres[row, [GENRES.index(name) for name in names]] = 1 / len(names)
    return Content(
        ids=ids,
        genres=genres,
        product=np.where(media[version] == "video", IPLAYER, SOUNDS),
        of_version=of_version,
        brand=columns["brand_id"][version] == ids,
        podcasts=masters[version] == "bbc_sounds_podcasts",
        live=catalogue.live[version],
    )


def item_tables(seed: np.random.SeedSequence, catalogue: Catalogue) -> dict[str, pa.Table]:
    """Return the tables of single programmes by name."""
    content = content_of(catalogue)
    iplayer, sounds, podcast_rng, mix_rng = (np.random.default_rng(child) for child in seed.spawn(4))
    podcasts = _podcasts(podcast_rng, content)
    mixes = _mixes(mix_rng, catalogue, content, podcasts)
    # The list has one row per schedule position; most podcasts have several.
    tleo = np.repeat(content.ids[podcasts], podcast_rng.integers(1, 4, int(podcasts.sum())))
    catalogued = mix_rng.random(len(mixes)) < MIX_CATALOGUED
    on_show = ~catalogued | (mix_rng.random(len(mixes)) < MIX_ON_SHOW)
    return {
        IPLAYER_FACTORS: _factors(iplayer, content, IPLAYER, IPLAYER_FACTORS),
        SOUNDS_FACTORS: _factors(sounds, content, SOUNDS, SOUNDS_FACTORS),
        PODCASTS: _list(podcast_rng, PODCASTS, tleo),
        MIXES: _list(mix_rng, MIXES, mixes[catalogued]),
        MIXES_ON_SHOW: _list(mix_rng, MIXES_ON_SHOW, mixes[on_show]),
    }


def _list(rng: np.random.Generator, name: str, ids: Texts) -> pa.Table:
    schema = CONTENT_TABLES[name]
    return pa.table({schema.names[0]: replace_by_missing(rng, ids, BLANK)}, schema=schema)


def _factors(rng: np.random.Generator, content: Content, product: int, name: str) -> pa.Table:
    """Return factors: the weighted mean of genre vectors from N(0, 1), plus noise."""
    of_genre = rng.normal(size=(len(GENRES), FACTORS[name]))
    rows = np.flatnonzero((content.product == product) & (rng.random(len(content.ids)) < HAS_FACTORS))
    unknown = np.flatnonzero(rng.random(len(rows)) < UNKNOWN)
    ids = [*content.ids[rows].tolist(), *(f"z{product}{i:06x}" for i in unknown)]
    weights = np.concatenate([content.genres[rows], content.genres[rows[unknown]]])
    factors = weights @ of_genre + rng.normal(0.0, FACTOR_NOISE, (len(ids), FACTORS[name]))
    columns = {"content_id": ids, **{f"f{i}": factors[:, i] for i in range(FACTORS[name])}}
    return pa.table(columns, schema=CONTENT_TABLES[name])


def _podcasts(rng: np.random.Generator, content: Content) -> Flags:
    """Draw which content is listed as a podcast: most of BBC Sounds Podcasts and some radio brands."""
    chance = np.where(content.podcasts, PODCAST_LISTED, np.where(content.brand, RADIO_PODCASTS, 0.0))
    recorded = (content.product == SOUNDS) & ~content.live
    return np.asarray(recorded & (rng.random(len(chance)) < chance))


def _mixes(rng: np.random.Generator, catalogue: Catalogue, content: Content, podcasts: Flags) -> Texts:
    """Return the ids of episodes that are mixes: all episodes of some brands, and some one-offs."""
    music = content.genres[:, GENRES.index("Music")] > 0
    able = music & (content.product == SOUNDS) & ~content.live & ~content.podcasts & ~podcasts
    chance = np.where(content.brand, MIX_BRANDS, MIX_ONE_OFFS)
    chosen = np.append(
        able & (rng.random(len(chance)) < chance), False
    )  # the last entry serves clips without content, -1
    episodes = np.array(catalogue.table["episode_id"].to_pylist(), dtype=object)[chosen[content.of_version]]
    return np.asarray(episodes[~np.isin(episodes, MISSING_TEXTS)])
