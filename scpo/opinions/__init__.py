"""GlobalOpinionQA: how near reward models come to what the people of countries answered."""
