-- Makes: each reason as a sentence, for runs that write sentences (explain.sentences).
-- Grain: product, target week, user and rank, as before.
-- From: the staging table of a run's reasons.
alter table {{ schema }}.reasons add column sentence varchar(1000)
