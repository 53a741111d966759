DROP TABLE limit_totals;
