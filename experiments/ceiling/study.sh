python run.py -cd experiments/ceiling -cn study "$@"
python experiments/ceiling/measure.py runs/studies/ceiling --data "$DEEPSAL_DATA"
