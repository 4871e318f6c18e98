-- Makes: each score's first three reasons: +name raises the risk, -name lowers it.
-- Grain: product, target week and user, as before.
-- From: the staging table of a run's scores.
alter table {{ schema }}.scores add column reason_1 varchar(80);

alter table {{ schema }}.scores add column reason_2 varchar(80);

alter table {{ schema }}.scores add column reason_3 varchar(80)
