/* Runs the resampling kernel on cases from standard input; results to standard output.
 *
 * A case is six int32 (frames to make, pitch of the photograph, of the result, bytes of both, of
 * the tables), `job` with its pointers left out, `first` and `weight` of x and y, the
 * photograph, the tables (hosttime/arm.py writes it). */
#include <stdio.h>

#include "../../sw/falconet/runtime/resample.c"

static void *take(size_t size)
{
    void *memory = malloc(size ? size : 1);
    if (!memory || fread(memory, 1, size, stdin) != size)
        exit(2);
    return memory;
}

static void take_axis(axis *a)
{
    if (fread(a, sizeof(int32_t), 5, stdin) != 5)
        exit(2);
}

int main(void)
{
    int32_t head[6];
    while (fread(head, sizeof head, 1, stdin) == 1) {
        job j;
        take_axis(&j.x);
        take_axis(&j.y);
        if (fread(&j.height, sizeof(int32_t), 9, stdin) != 9)
            return 2;
        axis *axes[] = {&j.x, &j.y};
        for (int i = 0; i < 2; i++) {
            axes[i]->first = take(4 * (size_t)axes[i]->n);
            axes[i]->weight = take(4 * (size_t)axes[i]->n * axes[i]->taps);
        }
        u8 *image = take(head[3]), *table = take(head[5]), *out = calloc(1, head[4]);
        for (int i = 0; i < head[0]; i++)
            if (!out || falconet_scale(&j, image, head[1], out, head[2], table, 0))
                return 3;
        fwrite(out, 1, head[4], stdout);
        free((void *)j.x.first), free((void *)j.x.weight);
        free((void *)j.y.first), free((void *)j.y.weight);
        free(image), free(table), free(out);
    }
    return 0;
}
