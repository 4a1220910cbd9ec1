// What every instruction set's build of the kernels offers: one table of functions over plain arrays.
//
// Arrays are float32, contiguous, row after row, unless said otherwise. Nothing here knows Python or torch.
#pragma once
#include <cstdint>

#include "pool.hpp"

namespace polyfield {

constexpr int MAX_AXES = 4;
constexpr int MAX_LAYERS = 18;
constexpr int MAX_FACTORS = 6;  // of a group
constexpr int LINE = 16;  // numbers of a cache line

// One level of a multi-resolution grid; kernels/levels.py says what the numbers mean.
struct Level {
    int32_t nodes[MAX_AXES];
    uint32_t stride[MAX_AXES];  // dense: rows between neighbours along an axis; hashed: the axis' prime
    uint32_t mask;              // hashed: the next power of two of size, less 1
    int32_t hashed;
    int64_t offset;  // first row
    int64_t size;    // rows
    const int32_t* index;  // the row of each node in a dense level's order, or null where that is the row
};

struct Grid {
    int levels, axes, features;
    const Level* level;
    int64_t entries;
};

// A fully connected network: weight[l] (sizes[l + 1], sizes[l]), bias[l] (sizes[l + 1],) or null.
struct Network {
    int layers;
    int sizes[MAX_LAYERS + 1];
    const float* weight[MAX_LAYERS];
    const float* bias[MAX_LAYERS];
    bool sine;  // between the layers: sine, or else ReLU
};

// Scales and shifts of a network's hidden layers; kernels/operations.py has the equations.
struct Modulation {
    const float* numbers;  // (points, hidden layers, 2, channels): gamma - 1 and beta; null if there is none
    int channels;          // 1, or the width of the hidden layers
    bool normed;
};

// Occupied cells in bricks of 4^3, a bit each, and bits of occupied bricks in blocks of 4^3 bricks.
struct Occupancy {
    int cascades, cells, bricks, blocks;  // along an axis
    const uint64_t* brick;                // (cascades, bricks, bricks, bricks)
    const uint64_t* block;                // (cascades, blocks, blocks, blocks)
    float low[3], high[3];                // of one cascade alone: the box round all that is occupied
};

// Points in a balanced tree of boxes; kernels/tree.py says how they lie.
struct Branches {
    int64_t count;        // of leaves
    const float* leaves;  // (count, axes, 8)
    const float* boxes;   // (2 count / 8 rounded up, 2, axes, 8) of eight successive nodes
};

// Kernels round centres; kernels/operations.py has the equations.
struct RadialBasis {
    int64_t count;
    int axes, neighbours, features, shape_numbers;
    bool linear;
    const float* weights;      // (count, features)
    const float* centres;      // (count, axes)
    const float* shapes;       // (count, shape_numbers)
    const float* multipliers;  // (features,) or null
};

struct Rays {
    int64_t count;
    const float* origins;     // (count, 3) in the occupancy grid's frame
    const float* directions;  // (count, 3)
    const float *near, *far, *jitter;
    float step, cone;
};

constexpr int64_t MARCHED = 256;  // rays whose samples are kept together until all are counted

// The samples of some rays, one after the other.
struct alignas(64) Marched {
    Buffer memory;
    float* pairs = nullptr;  // (count, 2): t and dt
    int64_t count = 0, capacity = 0;
};

// Rays as cameras give them: in the world, with directions of unit length, sampled from a distance `near` on.
struct WorldRays {
    int64_t count;
    const float* origins;     // (count, 3)
    const float* directions;  // (count, 3)
    const float* jitter;
    const float* times;  // (count,) in [0, 1], or null for a field at rest
    float near, step, cone;
};

// A table over some of a point's axes.
struct Factor {
    Grid grid;
    const float* table;
    const uint16_t* half_table;  // the table in half precision where the instruction set reads it, or null
    int axis[MAX_AXES];
    int kept;  // column of gradients to its code among those of all factors; where codes are summed, a group's are the same
};

// Factors whose codes, of as many levels and features, are multiplied or summed.
struct Group {
    int first, factors;
    int column;  // of its code in that of the field
};

// A field of the form code -> density network -> colour network, or, of values, code -> network; or, without a network, of
// codes that are values, or a raw density and coefficients of harmonics. fields/plan.py has the equations.
struct FusedField {
    int groups, factors;
    int late;  // of the groups the last ones, which only colours need
    int codes;  // numbers of all groups' codes, the sines and cosines, and sums of radial basis functions
    const Group* group;
    const Factor* factor;  // group by group
    bool summed;
    int kept;  // numbers of the gradients to all factors' codes
    int dimensions;   // of a point, 2 or 3
    bool timed;       // the time in [0, 1] is one more coordinate, behind those of the unit cube
    int coordinates() const { return dimensions + timed; }
    int frequencies;  // octaves of sines and cosines of the point, behind all groups' codes; below 0 for no such code
    int frequency_column;
    const Factor* modulated;  // its codes are the modulation of the density network's hidden layers; null if there is none
    Modulation modulation;    // without numbers
    int modulations() const { return modulated ? modulated->grid.features : 0; }
    // Of radiance, its sums are added to the latent vector behind the density, for colours; of values, they are the last codes.
    const RadialBasis* radial;  // null if there is none
    int radial_column;
    bool radial_codes() const { return radial && !colour.layers; }
    Branches tree;              // of its centres
    Network density, colour;     // colour takes the density network's outputs and then the ray's harmonics; of values, it is empty
    int degree;  // of the harmonics, degree^2 numbers
    int harmonics() const { return degree * degree; }
    bool plain() const { return !density.layers; }  // codes are latent vectors
    int latents() const { return plain() ? codes : density.sizes[density.layers]; }
    bool radiance() const { return colour.layers || (plain() && degree); }
    float centre[3], axes[9];  // local = axes (world - centre)
    bool contraction;
    float low, high, per_length;  // density = exp(clamp(raw, low, high)) * per_length
    float least_transmittance, least_share;
};

struct Losses {
    double loss;
    int64_t evaluated, shaded;
    bool finite;
};

struct Adam {
    float learning_rate, mean_share, square_share, mean_correction, square_correction, eps, decay;
    bool sparse;  // numbers whose gradient is zero stay as they are
};

struct Muon {
    float learning_rate, momentum;
};

// How a tensor moves, and what of it does.
struct TensorStep {
    Adam adam;
    float *parameter, *mean, *square;
    Muon muon;  // of a matrix without `square`
};

// Where gradients go.
struct Descent {
    // Of the tables, the density network's weights, its biases, the weights of radial basis functions, and the colour network's
    // weights; null where they stay. Taken if there are samples, and loss and gradients are finite.
    const TensorStep* steps;
    uint16_t* const* half;    // the tables' copies, which then move along
    float* const* to_table;   // (entries, features) of each, overwritten unless the tables move
    float* to_density[MAX_LAYERS];
    float* to_bias[MAX_LAYERS];
    float* to_radial;
    float* to_colour[MAX_LAYERS];
};

struct Training : Descent {
    const float *target, *background;  // (count, 4) premultiplied, (count, 3)
    float huber;
    float* errors;      // (count,) squared, mean over the channels, overwritten
};

// What is compared at points, and how: fitting/losses.py has the equations.
enum Part { RAW, FEATURES, COLOUR, PARTS };
enum Measure { SQUARES, HUBER, RELATIVE, ENTROPY, CLAMPED };

struct PointTerm {
    Part part;
    Measure measure;
    float weight, low, high;  // of CLAMPED the range; of HUBER, high is delta
};

struct QueryPoints {
    int64_t count;
    const float *points, *directions;  // (count, dimensions) and (count, 3) in the world; directions may be null
    const float* times;                // (count,) if the field is timed
};

struct PointTraining : Descent {
    int terms;
    const PointTerm* term;
    const float* target[PARTS];  // (count, channels) of each part, or null
    float* errors;  // (count,) squared, of the first term, mean over the channels, overwritten
};

struct Picture {
    float *colour, *opacity, *depth;  // (count, 3), (count,), (count,)
};

// Where random numbers come from: kernels/philox.py.
struct Stream {
    uint32_t seed[2], name, step;
};

struct Kernels {
    const char* name;
    bool reads_half;
    bool brain;  // train and render multiply in bfloat16
    void (*interpolate)(const Grid&, const float* table, const float* points, int64_t count, float* out);
    void (*interpolate_to_table)(const Grid&, const float* gradient, const float* points, int64_t count,
                                 float* to_table);
    void (*interpolate_to_points)(const Grid&, const float* table, const float* gradient, const float* points,
                                  int64_t count, float* to_points);
    void (*mlp)(const Network&, const Modulation&, const float* x, int64_t count, float* out);
    // to_modulation is null if there is no modulation.
    void (*mlp_backward)(const Network&, const Modulation&, const float* x, const float* gradient, int64_t count,
                         float* to_x, float* to_modulation, float* const* to_weight, float* const* to_bias);
    void (*nearest)(const Branches&, int axes, const float* points, int64_t count, int wanted, int32_t* out);
    void (*rbf)(const RadialBasis&, const float* points, const int32_t* neighbours, int64_t count, float* shares, float* out);
    void (*rbf_to_weights)(const RadialBasis&, const int32_t* neighbours, const float* shares, const float* gradient,
                           int64_t count, float* to_weights);
    void (*rbf_to_points)(const RadialBasis&, const float* points, const int32_t* neighbours, const float* gradient,
                          int64_t count, float* to_points);
    // Writes counts (rays,), and the samples of every MARCHED rays to one of `found`.
    void (*march)(const Rays&, const Occupancy&, int64_t* counts, Marched* found);
    void (*transmittance)(int64_t rays, const int64_t* offsets, const int64_t* counts, const float* density,
                          const float* dt, float* out);
    void (*composite)(int64_t rays, const int64_t* offsets, const int64_t* counts, const float* t, const float* dt,
                      const float* density, const float* colour, float* out, float* weights);
    void (*composite_backward)(int64_t rays, const int64_t* offsets, const int64_t* counts, const float* t,
                               const float* dt, const float* density, const float* colour, const float* to_out,
                               const float* to_weights, float* to_density, float* to_colour);
    // half: where the parameters go in half precision too, or null.
    void (*adam)(const Adam&, int64_t count, const float* gradient, float* parameter, float* mean, float* square,
                 uint16_t* half);
    // Matrices (bank, rows, columns).
    void (*muon)(const Muon&, int64_t bank, int rows, int columns, const float* gradient, float* parameter, float* mean);
    void (*random_bits)(const Stream&, int64_t count, uint32_t* bits);
    // Writes the accepted of `tries` (a multiple of 4) random rows, at most `most` of them; returns how many were accepted.
    int64_t (*weighted)(const Stream&, const uint8_t* weights, int64_t rows, int64_t tries, int64_t most, int64_t* index,
                        uint8_t* of_index);
    void (*gather)(int parts, const uint8_t* const* data, const int64_t* ends, int64_t bytes, const int64_t* index,
                   int64_t count, uint8_t* out);
    void (*halve)(int64_t count, const float* from, uint16_t* to);
    Losses (*train)(const FusedField&, const WorldRays&, const Occupancy&, const Training&);
    Losses (*train_points)(const FusedField&, const QueryPoints&, const PointTraining&);
    // Latent vectors (count, outputs of the density network), and colours (count, 3) where there are directions.
    void (*evaluate)(const FusedField&, const QueryPoints&, float* latent, float* colour);
    void (*density)(const FusedField&, const float* points, const float* times, int64_t count, float* out);
    Losses (*render)(const FusedField&, const WorldRays&, const Occupancy&, const Picture&);
    // The machine's limits: each does about `count` on all threads and returns how many it did.
    int64_t (*multiply_adds)(int64_t count, bool brain);                    // 0 if it has no bfloat16
    int64_t (*random_reads)(void* memory, int64_t bytes, int64_t count);    // of 8 bytes each
    int64_t (*random_updates)(void* memory, int64_t bytes, int64_t count);  // of 16, `bytes` a thread
};

extern const Kernels kernels_generic, kernels_avx2, kernels_avx512, kernels_avx512bf16;  // those that are built

}  // namespace polyfield
