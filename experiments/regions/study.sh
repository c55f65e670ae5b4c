python run.py -cd experiments/surround -cn study "$@"
python experiments/regions/measure.py runs/studies/surround/*-s[0-2] --data "$DEEPSAL_DATA"
python experiments/regions/figure.py
