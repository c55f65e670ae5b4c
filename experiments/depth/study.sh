python run.py -cd experiments/depth -cn study "$@"
python experiments/depth/figure.py runs/studies/depth
python experiments/depth/control.py runs/studies/depth --data "$DEEPSAL_DATA"
