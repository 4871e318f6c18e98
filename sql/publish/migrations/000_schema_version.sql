-- Makes: the schema of the published tables, and which of these migrations it has had.
-- Grain: migration.
-- From: nothing; each migration adds its row.
create schema if not exists {{ schema }};

create table if not exists {{ schema }}.schema_version (
    version integer not null,
    title varchar(80) not null,
    applied_at timestamp not null,
    primary key (version)
)
