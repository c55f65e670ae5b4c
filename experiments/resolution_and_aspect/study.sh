python run.py -cd experiments/resolution_and_aspect -cn study "$@"
python run.py -cd experiments/resolution_and_aspect -cn aspect "$@"
python experiments/resolution_and_aspect/figure.py runs/studies/resolution_and_aspect
