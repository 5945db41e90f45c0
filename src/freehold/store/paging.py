"""Lists in pages: the newest or the oldest first, each page after the last row of the one before.

Room: store. Knows columns only; must not know what a row is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.errors import NotFound

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = ["after_row"]


def after_row(
    connection: Connection,
    table: sa.Table,
    query: sa.Select[Any],
    *,
    after: str | None,
    owner: str,
    newest_first: bool = True,
) -> sa.Select[Any]:
    """The query in order of `created_at`, from the owner's row with the id `after` on.

    Raises: NotFound where the owner has no such row: a page after nothing would begin anew.
    """
    at, name = table.c.created_at, table.c.id
    if after is not None:
        own = sa.select(at).where(name == after, table.c.owner == owner)
        place = connection.execute(own).scalar()
        if place is None:
            raise NotFound("there is nothing with the id of `after`", param="after", value=after)
        if newest_first:
            query = query.where(sa.or_(at < place, sa.and_(at == place, name < after)))
        else:
            query = query.where(sa.or_(at > place, sa.and_(at == place, name > after)))
    order = (at.desc(), name.desc()) if newest_first else (at, name)
    return query.order_by(*order)
