"""`mistudio.models.v1`, deprecated: the same models and use cases as v2, under the ids and fields of before."""
